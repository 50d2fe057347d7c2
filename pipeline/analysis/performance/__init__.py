"""How steps and workflows perform: metrics, funnel, bottlenecks, exits, stuck people, revenue, reconciliation."""
