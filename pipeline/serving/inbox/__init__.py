"""The inbox: where people see what is proposed, with its evidence, and decide. Who may is `review`'s business."""
