//! What is more than the operator allows is refused before the message is read: the one bucket of all intakes that callers wait for.

use std::sync::Arc;
use std::time::Instant;

use tonic::service::Interceptor;
use tonic::{Request, Status};
use uuid::Uuid;

use super::refuse::status;
use crate::rate::Rate;

/// Stands before a service.
#[derive(Clone)]
pub(super) struct Limit(pub(super) Arc<Rate>);

impl Interceptor for Limit {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.0.admit(Instant::now()) {
            Ok(()) => Ok(request),
            Err(refusal) => Err(status(refusal, &Uuid::now_v7().to_string())),
        }
    }
}
