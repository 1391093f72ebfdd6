//! The public surface: REST, gRPC and AMQP intake.
