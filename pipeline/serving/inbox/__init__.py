"""The inbox, where people see what is proposed with its evidence, and decide. `review` knows who may decide."""
