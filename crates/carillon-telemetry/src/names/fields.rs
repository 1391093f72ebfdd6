//! Names of log and span fields.

/// Names of log and span fields, dotted. Ids belong here, not on metrics; tokens, phone numbers and contents nowhere.
pub mod field {
    /// Id of the tenant.
    pub const TENANT_ID: &str = "tenant.id";
    /// Id of the app.
    pub const APP_ID: &str = "app.id";
    /// Id of the notification.
    pub const NOTIFICATION_ID: &str = "notification.id";
    /// Id of the run.
    pub const RUN_ID: &str = "run.id";
    /// Number of the chunk within its run.
    pub const CHUNK_ID: &str = "chunk.id";
    /// Id of one notification for one device.
    pub const MESSAGE_ID: &str = "message.id";
    /// Id of the device.
    pub const DEVICE_ID: &str = "device.id";
    /// Id of the cascade.
    pub const CASCADE_ID: &str = "cascade.id";
    /// Platform: apns, fcm, webpush, ...
    pub const PLATFORM: &str = "platform";
    /// Lane: transactional or bulk.
    pub const LANE: &str = "lane";
    /// Count of the attempt, from 1.
    pub const ATTEMPT: &str = "attempt";
    /// What became of it, a word from a closed enum.
    pub const OUTCOME: &str = "outcome";
    /// Why, a word from a closed enum.
    pub const REASON: &str = "reason";
    /// The provider's own id of the message (`apns-id`, FCM's message name).
    pub const PROVIDER_MESSAGE_ID: &str = "provider.message.id";
    /// `rabbitmq` (OpenTelemetry, messaging).
    pub const MESSAGING_SYSTEM: &str = "messaging.system";
    /// `send` or `process` (OpenTelemetry, messaging).
    pub const MESSAGING_OPERATION: &str = "messaging.operation.name";
    /// Exchange, routing key and queue (OpenTelemetry, messaging).
    pub const MESSAGING_DESTINATION: &str = "messaging.destination.name";
    /// Id of the broker's message (OpenTelemetry, messaging).
    pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
    /// Method of an HTTP request (OpenTelemetry, HTTP).
    pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
    /// Status code of an HTTP answer (OpenTelemetry, HTTP).
    pub const HTTP_RESPONSE_STATUS: &str = "http.response.status_code";
    /// Host of the server that was called (OpenTelemetry, server).
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Port of the server that was called (OpenTelemetry, server).
    pub const SERVER_PORT: &str = "server.port";
    /// What fails together at a provider: a push service's authority, or one of a provider's worlds (`production`, `sandbox`).
    pub const PROVIDER_HOST: &str = "provider.host";
    /// Class of an error, a word from a closed enum (OpenTelemetry).
    pub const ERROR_TYPE: &str = "error.type";
}
