"""Dead letters for operators: the endpoints, and the interface (`view`) that they call."""
