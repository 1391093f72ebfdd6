//! The bearer token of one service account: fetched once for all who ask at the same time, renewed in the background.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carillon_dispatch::Verdict;
use carillon_runtime::{Clock, Scope};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use crate::token_endpoint::{Issued, TokenEndpoint};

/// A token is renewed when this much of its life is over.
const RENEW_AT: f64 = 0.8;
/// After this much of its life a token is not used any more: it has to be good when it arrives.
const USED_UNTIL: f64 = 0.95;
/// A renewal in the background that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Tokens that Google refuses although they are young are replaced this often and no more.
const REPLACE_EVERY: Duration = Duration::from_secs(30);

/// What a request needs beside its body, ready to send.
pub(crate) struct Token {
    pub(crate) headers: HeaderMap,
    renew_at: Timestamp,
    used_until: Timestamp,
}

/// One service account's token.
pub(crate) struct Bearer {
    endpoint: TokenEndpoint,
    scope: Scope,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The one fetch under way, for everybody who waits for it.
    flight: Option<Flight>,
    /// No renewal in the background before.
    rest_until: Option<Timestamp>,
    /// When Google's refusal last made us fetch another one.
    replaced_at: Option<Timestamp>,
}

type Flight = Shared<BoxFuture<'static, Result<Arc<Token>, Verdict>>>;

impl Bearer {
    pub(crate) fn new(endpoint: TokenEndpoint, scope: Scope) -> Arc<Self> {
        let clock = scope.clock();
        Arc::new(Self { endpoint, scope, clock, state: Mutex::default() })
    }

    /// A token that is good: at once if there is one, else as soon as it is fetched.
    ///
    /// # Errors
    /// The verdict that every message would get.
    pub(crate) async fn token(self: &Arc<Self>) -> Result<Arc<Token>, Verdict> {
        let flight = {
            let mut state = self.lock();
            let now = self.clock.now();
            match state.token.clone().filter(|token| now < token.used_until) {
                Some(token) => {
                    if now >= token.renew_at && state.rest_until.is_none_or(|until| now >= until) {
                        let _goes_on_by_itself = self.fly(&mut state);
                    }
                    return Ok(token);
                }
                None => self.fly(&mut state),
            }
        };
        flight.await
    }

    /// Another token than the one that Google refused.
    ///
    /// # Errors
    /// [`Verdict::Misconfigured`] when it was replaced for that a moment ago; the verdict of the endpoint otherwise.
    pub(crate) async fn replace(self: &Arc<Self>, refused: &Arc<Token>) -> Result<Arc<Token>, Verdict> {
        let flight = {
            let mut state = self.lock();
            let now = self.clock.now();
            if let Some(other) = state.token.clone().filter(|token| !Arc::ptr_eq(token, refused)) {
                return Ok(other);
            }
            if state.flight.is_none() {
                if state.replaced_at.is_some_and(|at| now < after(at, REPLACE_EVERY)) {
                    return Err(refused_token());
                }
                state.replaced_at = Some(now);
            }
            self.fly(&mut state)
        };
        flight.await
    }

    /// The fetch that is under way, or a new one. It goes on without those who wait for it.
    fn fly(self: &Arc<Self>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let this = Arc::clone(self);
        let flight = async move {
            let fetched = this.endpoint.fetch().await;
            let now = this.clock.now();
            let mut state = this.lock();
            state.flight = None;
            match fetched {
                Ok(issued) => {
                    let token = Arc::new(Token::new(issued, now));
                    state.token = Some(Arc::clone(&token));
                    Ok(token)
                }
                Err(verdict) => {
                    state.rest_until = Some(after(now, RETRY));
                    Err(verdict)
                }
            }
        };
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        let driven = flight.clone();
        self.scope.spawn_helper("fcm token", async move {
            let _for_others = driven.await;
        });
        flight
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    fn new(issued: Issued, now: Timestamp) -> Self {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, issued.authorization);
        let of_life = |share| after(now, issued.life.mul_f64(share));
        Self { headers, renew_at: of_life(RENEW_AT), used_until: of_life(USED_UNTIL) }
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// Google refuses tokens that its own endpoint has just issued.
pub(crate) fn refused_token() -> Verdict {
    Verdict::Misconfigured { detail: "UNAUTHENTICATED".into() }
}
