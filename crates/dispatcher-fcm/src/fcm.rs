//! FCM as a [`Provider`].

use std::sync::Arc;
use std::time::Duration;

use carillon_dispatch::{ChunkFacts, Message, Misconfigured, Provider, Quota, Verdict};
use carillon_egress::{AllowHosts, Http2Pool, HttpClient, HttpConfig, PoolError, Request, Trust};
use carillon_runtime::Scope;
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answered, read, unanswered};
use crate::bearer::{Token, refused_token};
use crate::config::FcmConfig;
use crate::credential::Credential;

/// The whole exchange with a token endpoint.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer of a token endpoint, in bytes.
const TOKEN_CAP: usize = 16 * 1024;

/// Firebase Cloud Messaging, HTTP v1.
pub struct Fcm {
    pool: Arc<Http2Pool>,
    /// To token endpoints.
    http: Arc<HttpClient>,
    allow_hosts: AllowHosts,
    request_timeout: Duration,
    messages_per_minute: u32,
    scope: Scope,
}

/// What the messages of a chunk share. The token is looked at for every message, so that a renewed one is used at once.
pub struct Prepared(Arc<Credential>);

impl Fcm {
    /// Opens nothing yet: connections come with the first chunk.
    ///
    /// # Errors
    /// A URL that is no origin, or unusable TLS.
    pub fn new(config: &FcmConfig, trust: &Trust, scope: Scope) -> Result<Self, PoolError> {
        let http = HttpConfig { timeout: TOKEN_TIMEOUT, response_cap: TOKEN_CAP, ..HttpConfig::default() };
        Ok(Self {
            pool: Arc::new(Http2Pool::new(config.origin()?, config.pool(), trust)?),
            http: Arc::new(HttpClient::new(http, trust)?),
            allow_hosts: config.allow_hosts.clone(),
            request_timeout: config.request_timeout.get(),
            messages_per_minute: config.messages_per_minute,
            scope,
        })
    }

    pub(crate) fn pool(&self) -> Arc<Http2Pool> {
        Arc::clone(&self.pool)
    }

    async fn ask(&self, credential: &Credential, token: &Token, message: &Message<'_>, deadline: Instant) -> Answered {
        let Message { body, span, .. } = message;
        span.asks(self.pool.origin().host(), self.pool.origin().port());
        let request = Request::post(&credential.path, &token.headers, body.clone());
        match self.pool.request_by(request, deadline).await {
            Ok(response) => {
                span.answered(response.status.as_u16());
                read(&response)
            }
            Err(error) => unanswered(&error),
        }
    }
}

impl Provider for Fcm {
    type Credential = Credential;
    type Prepared = Prepared;

    fn open(&self, plaintext: &[u8]) -> Result<Credential, Misconfigured> {
        Credential::read(plaintext, &self.allow_hosts, Arc::clone(&self.http), self.scope.clone())
    }

    async fn prepare(&self, _: &ChunkFacts, credential: &Arc<Credential>) -> Result<Prepared, Verdict> {
        credential.bearer.token().await?;
        Ok(Prepared(Arc::clone(credential)))
    }

    async fn send(&self, Prepared(credential): &Prepared, message: Message<'_>) -> Verdict {
        let deadline = Instant::now() + self.request_timeout;
        let mut refused: Option<Arc<Token>> = None;
        // One place to ask from: each would have room of its own in every message's call.
        loop {
            let token = async {
                match &refused {
                    None => credential.bearer.token().await,
                    Some(refused) => credential.bearer.replace(refused).await,
                }
            };
            let token = match timeout_at(deadline, token).await {
                Ok(Ok(token)) => token,
                Ok(Err(verdict)) => return verdict,
                // Nothing has left before there is a token.
                Err(_) => return Verdict::Unavailable { retry_after: None },
            };
            let answered = self.ask(credential, &token, &message, deadline).await;
            match (answered.unauthenticated, &refused) {
                (false, _) => return answered.verdict,
                (true, None) => refused = Some(token),
                (true, Some(_)) => return refused_token(),
            }
        }
    }

    /// "Throttling and quotas": so many messages a minute per project. Refused ones count, too. A second's worth may go at
    /// once.
    fn quota(&self, credential: &Credential) -> Option<Quota> {
        let per_second = f64::from(self.messages_per_minute) / 60.0;
        Some(Quota { key: credential.project.clone(), per_second, burst: per_second.max(1.0) })
    }
}
