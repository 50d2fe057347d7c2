"""How each step and flow performs: metrics, funnel, bottlenecks, exits, people who are stuck, revenue,
reconciliation.
"""
