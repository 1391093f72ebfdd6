//! What every provider must get right, as a library for the tests of the providers' crates: what an answer of the provider's
//! own system comes to, asked over its real protocol.
//!
//! The crate of a provider describes its simulator by [`Simulator`] and calls [`check`], which panics with a sentence that
//! says what is wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carillon_domain::delivery_status::Reason;
use carillon_domain::device::Environment;
use carillon_domain::ids::{NotificationId, RunId};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::provider::{ChunkFacts, Message, Provider, Scope, TokenFate, Verdict};
use crate::trace::CallSpan;

/// How long a provider may take for one message before the check gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the simulator is told to want, in seconds.
const RETRY_AFTER: u64 = 7;

/// What the simulator does with the next message to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Accepts it.
    Accept,
    /// Says that the token is dead.
    Gone,
    /// Refuses the message as malformed.
    RefuseMessage,
    /// Refuses the message as too large.
    TooLarge,
    /// Says that too much is sent, and to come back after so many seconds.
    Throttle(u64),
    /// Says that it is not well.
    Unavailable,
    /// Takes the message and cuts the connection instead of answering.
    TakeAndCut,
}

/// A device that the simulator knows.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// Token, installation id or endpoint.
    pub token: String,
    /// Web Push: the browser's public key.
    pub p256dh: Vec<u8>,
    /// Web Push: the shared secret.
    pub auth: Vec<u8>,
}

/// The provider's system, played.
pub trait Simulator {
    /// A new device that messages reach.
    fn device(&mut self) -> impl Future<Output = Device>;

    /// The plaintext of a credential that is good.
    fn credential(&mut self) -> impl Future<Output = Vec<u8>>;

    /// The plaintext of a credential in good form that the provider refuses; `None` if there is no such thing.
    fn refused_credential(&mut self) -> impl Future<Output = Option<Vec<u8>>>;

    /// A body that the provider takes.
    fn body(&self, device: &Device) -> Bytes;

    /// What becomes of the next message to the device.
    fn arrange(&mut self, device: &Device, behaviour: Behaviour);

    /// Whether connections are refused from now on.
    fn shut(&mut self, shut: bool);

    /// How many messages to the device arrived.
    fn arrived(&self, device: &Device) -> usize;
}

/// The facts of a chunk that shows something and expires in an hour.
pub fn facts(now: Timestamp) -> ChunkFacts {
    let id = Uuid::new_v4();
    ChunkFacts {
        run: RunId(id),
        notification: NotificationId(id),
        tenant: "conformance".to_owned(),
        app: "conformance".to_owned(),
        link: 0,
        expires_at: now.saturating_add(SignedDuration::from_hours(1)).unwrap_or(now),
        now_or_never: false,
        shown: true,
        high_priority: true,
        collapse_id: id.to_string(),
        collapse_chosen: false,
        interruption_level: None,
    }
}

/// One message to a device.
pub fn message<'a>(device: &'a Device, body: Bytes) -> Message<'a> {
    Message {
        device: "d1",
        token: &device.token,
        p256dh: &device.p256dh,
        auth: &device.auth,
        environment: Environment::Production,
        body,
        time_left: Duration::from_secs(3600),
        span: CallSpan::none(),
    }
}

/// Opens, prepares and sends once, as the engine would.
///
/// # Panics
/// If the provider takes longer than 30 seconds, or the credential cannot be opened.
pub async fn send<P: Provider>(provider: &P, credential: &[u8], device: &Device, body: Bytes) -> Verdict {
    let credential = match provider.open(credential) {
        Ok(credential) => Arc::new(credential),
        Err(error) => panic!("the credential cannot be opened: {error}"),
    };
    let once = async {
        match provider.prepare(&facts(Timestamp::now()), &credential).await {
            Ok(prepared) => provider.send(&prepared, message(device, body)).await,
            Err(verdict) => verdict,
        }
    };
    match tokio::time::timeout(PATIENCE, once).await {
        Ok(verdict) => verdict,
        Err(_) => panic!("a message took longer than {PATIENCE:?}"),
    }
}

/// Checks everything.
///
/// # Panics
/// At the first thing that is wrong.
pub async fn check<P: Provider, S: Simulator>(provider: &P, simulator: &mut S) {
    let credential = simulator.credential().await;
    for (behaviour, fits, says) in expectations() {
        let device = simulator.device().await;
        simulator.arrange(&device, behaviour);
        let verdict = send(provider, &credential, &device, simulator.body(&device)).await;
        assert!(fits(&verdict), "{behaviour:?} must be {says}, not {verdict:?}");
        assert_eq!(
            simulator.arrived(&device),
            1,
            "{behaviour:?}: the message must be sent once, retries are the engine's"
        );
    }
    check_credentials(provider, simulator).await;
    check_absence(provider, simulator, &credential).await;
}

type Expectation = (Behaviour, fn(&Verdict) -> bool, &'static str);

fn expectations() -> [Expectation; 7] {
    [
        (Behaviour::Accept, |v| matches!(v, Verdict::Sent { .. }), "sent"),
        (
            Behaviour::Gone,
            |v| matches!(v, Verdict::Rejected { reason: Reason::TokenInvalid, token: TokenFate::Retire { .. } }),
            "a refusal that retires the token",
        ),
        (
            Behaviour::RefuseMessage,
            |v| matches!(v, Verdict::Rejected { reason: Reason::ProviderRejected, token: TokenFate::Keep }),
            "a refusal that keeps the token",
        ),
        (
            Behaviour::TooLarge,
            |v| matches!(v, Verdict::Rejected { reason: Reason::PayloadTooLarge, token: TokenFate::Keep }),
            "a refusal for the size that keeps the token",
        ),
        (
            Behaviour::Throttle(RETRY_AFTER),
            |v| matches!(v, Verdict::Throttled { retry_after: Some(wait), .. } if wait.as_secs() == RETRY_AFTER),
            "a throttle that names the provider's time",
        ),
        (Behaviour::Unavailable, |v| matches!(v, Verdict::Unavailable { .. }), "unavailable"),
        (Behaviour::TakeAndCut, |v| *v == Verdict::Unknown, "unknown: the provider may have taken it"),
    ]
}

async fn check_credentials<P: Provider, S: Simulator>(provider: &P, simulator: &mut S) {
    for malformed in [b"".as_slice(), b"{}", b"sesame", b"\xff\xff"] {
        let Err(error) = provider.open(malformed) else { panic!("a malformed credential was opened") };
        assert!(!error.to_string().contains("sesame"), "an error quotes a credential: {error}");
    }
    if let Some(refused) = simulator.refused_credential().await {
        let device = simulator.device().await;
        let verdict = send(provider, &refused, &device, simulator.body(&device)).await;
        let held =
            matches!(verdict, Verdict::Misconfigured { .. } | Verdict::Throttled { scope: Scope::Credential, .. });
        assert!(held, "a refused credential must hold its messages and fail none, not {verdict:?}");
    }
}

async fn check_absence<P: Provider, S: Simulator>(provider: &P, simulator: &mut S, credential: &[u8]) {
    let device = simulator.device().await;
    simulator.shut(true);
    // A message that was on its way when the connection was cut may have been taken; later ones were surely not.
    let away = async {
        loop {
            match send(provider, credential, &device, simulator.body(&device)).await {
                Verdict::Unavailable { .. } => return,
                Verdict::Unknown => {}
                other => panic!("a provider that is away must be unavailable, not {other:?}"),
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, away).await.is_ok(), "a provider that is away is never unavailable");
    simulator.shut(false);
    let back = async {
        while !matches!(send(provider, credential, &device, simulator.body(&device)).await, Verdict::Sent { .. }) {}
    };
    assert!(tokio::time::timeout(PATIENCE, back).await.is_ok(), "nothing is sent although the provider is back");
}
