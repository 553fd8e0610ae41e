"""The programs `torchless` and `infer`: a module for each verb, which parses, calls the library and prints. Nothing else imports it."""
