//! Request bodies as JSON has them, read into the domain's words. REST and the AMQP intake share them.

pub(crate) mod device;
pub(crate) mod draft;
pub(crate) mod receipt;
