"""Methods that several families of analysis share. Nothing here knows a table or a workflow."""
