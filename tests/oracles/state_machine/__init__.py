"""A state machine over two connections and an admin of one organization, and the model it is held against."""
