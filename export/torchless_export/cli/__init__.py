"""The verbs of the export side: a module each, which parses, calls the library and prints. Nothing else imports it."""
