"""A model that runs: its session, the plan for the processors, and the Classifier of the public API."""
