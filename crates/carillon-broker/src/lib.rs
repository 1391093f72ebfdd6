//! The only crate that knows AMQP: queues of typed events, confirmed publishing, consuming, reconnecting.
