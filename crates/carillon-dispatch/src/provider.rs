//! What a provider's own crate writes: how one message is sent, and what the answer means.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::Environment;
use carillon_domain::ids::{NotificationId, RunId};
use jiff::Timestamp;

use crate::trace::CallSpan;

/// A provider of push notifications. It knows a protocol and nothing of leases, retries or pacing: those are the engine's.
pub trait Provider: Send + Sync + 'static {
    /// An opened and parsed credential. Kept while its version is in use, dropped (and wiped) after.
    type Credential: Send + Sync + 'static;
    /// What all messages of a chunk have in common, made once: headers, tokens, the connection pool.
    type Prepared: Send + Sync;

    /// Reads an opened credential: the JSON of contract section 4, without what does not matter for sending.
    ///
    /// # Errors
    /// [`Misconfigured`] when nothing can be sent with it; the app's messages are held until it is replaced or they expire.
    fn open(&self, plaintext: &[u8]) -> Result<Self::Credential, Misconfigured>;

    /// Makes what the chunk's messages share. Given 3 seconds.
    ///
    /// # Errors
    /// The verdict that every message of the chunk would get, such as [`Verdict::Unavailable`] from an OAuth endpoint.
    fn prepare(
        &self,
        chunk: &ChunkFacts,
        credential: &Arc<Self::Credential>,
    ) -> impl Future<Output = Result<Self::Prepared, Verdict>> + Send;

    /// Sends one message once. It has its own deadline, and is cut by the engine's (`dispatch.send_timeout`), which counts as
    /// [`Verdict::Unknown`].
    fn send(&self, prepared: &Self::Prepared, message: Message<'_>) -> impl Future<Output = Verdict> + Send;

    /// The host that a message to this token goes to: what fails together, where a credential reaches more than one.
    fn host<'a>(&self, token: &'a str, environment: Environment) -> &'a str {
        let _ = (token, environment);
        ""
    }

    /// How fast the provider lets this credential's owner send; shared by all live dispatchers of the platform.
    fn quota(&self, credential: &Self::Credential) -> Option<Quota> {
        let _ = credential;
        None
    }
}

/// A credential that nothing can be sent with. The text says what is wrong in words of ours, never what was in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub Cow<'static, str>);

/// What became of one provider call. A value: only the plan turns it into outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider accepted the message.
    Sent {
        /// The provider's id of the message, where it gives one.
        provider_id: Option<String>,
    },
    /// The provider will never accept this message.
    Rejected {
        /// Why.
        reason: Reason,
        /// What it says about the token.
        token: TokenFate,
    },
    /// Not now, somebody sends too fast.
    Throttled {
        /// When the provider wants to be asked again, from now.
        retry_after: Option<Duration>,
        /// Who has to wait.
        scope: Scope,
    },
    /// The provider is away, or says that it is; surely not taken.
    Unavailable {
        /// When the provider wants to be asked again, from now.
        retry_after: Option<Duration>,
    },
    /// The provider says that it has failed and names no time; its rules ask to be left alone for at least this long, and
    /// longer each time. Surely not taken.
    Failing {
        /// From now.
        at_least: Duration,
    },
    /// The credential is refused.
    Misconfigured {
        /// The provider's word for it.
        detail: Cow<'static, str>,
    },
    /// No answer: the provider may have taken it. It is tried again, under the same id and collapse key.
    Unknown,
}

/// What a refusal says about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFate {
    /// Nothing.
    Keep,
    /// It is dead.
    Retire {
        /// Since when the provider knows, where it says so.
        since: Option<Timestamp>,
    },
    /// It is dead, unless nearly all tokens of the app get the same answer: then the app's settings are wrong, not its tokens.
    RetireUnlessMany,
}

/// Whom a throttle is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one device.
    Device,
    /// Everything that is sent with the credential.
    Credential,
}

/// So many messages per second for everything that has the same key.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// What the provider counts by, such as a project id.
    pub key: String,
    /// Messages per second, of all dispatchers together.
    pub per_second: f64,
    /// Messages that may go at once, of all dispatchers together.
    pub burst: f64,
}

/// What is the same for all messages of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkFacts {
    /// The sending it belongs to.
    pub run: RunId,
    /// The notification.
    pub notification: NotificationId,
    /// The tenant's id.
    pub tenant: String,
    /// The app's id.
    pub app: String,
    /// Which link of the notification's cascade; 0 is the push itself.
    pub link: u32,
    /// When the message is worth nothing any more.
    pub expires_at: Timestamp,
    /// A time to live of nothing: deliver now or drop it.
    pub now_or_never: bool,
    /// The push shows something, else it only wakes the app.
    pub shown: bool,
    /// At once, whatever it costs the battery.
    pub high_priority: bool,
    /// What hides a repeated copy; never empty.
    pub collapse_id: String,
    /// The caller chose it.
    pub collapse_chosen: bool,
    /// The interruption level's text, where the caller chose one.
    pub interruption_level: Option<String>,
}

/// One message to one device.
#[derive(Clone)]
pub struct Message<'a> {
    /// The public device id.
    pub device: &'a str,
    /// Token, installation id or endpoint.
    pub token: &'a str,
    /// Web Push: the browser's public key.
    pub p256dh: &'a [u8],
    /// Web Push: the shared secret.
    pub auth: &'a [u8],
    /// APNs: which of Apple's worlds.
    pub environment: Environment,
    /// The body, ready to send (Web Push: to encrypt).
    pub body: Bytes,
    /// What is left of the time to live.
    pub time_left: Duration,
    /// Where the call is seen, if it is.
    pub span: CallSpan,
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("body_len", &self.body.len()).finish_non_exhaustive()
    }
}
