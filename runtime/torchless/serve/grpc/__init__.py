"""The Open Inference Protocol over gRPC, beside HTTP and in the same event loop. Needs the extra `grpc`."""
