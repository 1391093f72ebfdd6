//! Queues of scripted replies, by provider and token.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::reply::{Provider, Reply, Times};

/// Tokens that may have a script at the same time.
const MOST_SCRIPTS: usize = 1_000_000;
/// Replies in one script.
const MOST_REPLIES: usize = 10_000;

/// What a provider answers for one token, reply after reply; when the queue is empty it judges for itself again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Whose answers.
    pub provider: Provider,
    /// An APNs hex token, an FCM token or fid, a Web Push endpoint, a phone number; `*` for every token that has no queue of its own.
    pub token: String,
    /// Appended to what is still queued for the token.
    pub replies: Vec<Reply>,
}

/// The one form in which a token is kept: APNs tokens in lower case, phone numbers with their plus.
pub(crate) fn canonical(provider: Provider, token: &str) -> Cow<'_, str> {
    match provider {
        Provider::Apns if token.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(token.to_ascii_lowercase()),
        Provider::Sms => {
            let digits = token.trim();
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && !token.starts_with('+') {
                Cow::Owned(format!("+{digits}"))
            } else {
                Cow::Borrowed(token)
            }
        }
        _ => Cow::Borrowed(token),
    }
}

/// All scripts. Asking for a reply costs one atomic load as long as a provider has none.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    queues: [Mutex<HashMap<Box<str>, VecDeque<Reply>>>; 5],
    armed: [AtomicUsize; 5],
}

impl Scripts {
    /// Appends a script's replies to the token's queue.
    pub(crate) fn add(&self, script: Script) -> Result<(), Error> {
        let index = script.provider.index();
        let token = canonical(script.provider, &script.token).into_owned().into_boxed_str();
        let mut queues = self.queues[index].lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= MOST_SCRIPTS && !queues.contains_key(&token) {
            return Err(Error::refused("too many scripts"));
        }
        let queue = queues.entry(token).or_default();
        if queue.len() + script.replies.len() > MOST_REPLIES {
            return Err(Error::refused("too many replies for one token"));
        }
        queue.extend(script.replies);
        queues.retain(|_, queue| !queue.is_empty());
        self.armed[index].store(queues.len(), Ordering::Release);
        Ok(())
    }

    /// Forgets the scripts of a token, of a provider, or all.
    pub(crate) fn clear(&self, provider: Option<Provider>, token: Option<&str>) {
        for one in Provider::ALL.into_iter().filter(|one| provider.is_none_or(|wanted| wanted == *one)) {
            let mut queues = self.queues[one.index()].lock().unwrap_or_else(PoisonError::into_inner);
            match token {
                Some(token) => {
                    queues.remove(canonical(one, token).as_ref());
                }
                None => queues.clear(),
            }
            self.armed[one.index()].store(queues.len(), Ordering::Release);
        }
    }

    /// The reply whose turn it is; `token` is in its canonical form.
    pub(crate) fn next(&self, provider: Provider, token: &str) -> Option<Reply> {
        let index = provider.index();
        if self.armed[index].load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queues = self.queues[index].lock().unwrap_or_else(PoisonError::into_inner);
        let key = if queues.contains_key(token) { token } else { "*" };
        let queue = queues.get_mut(key)?;
        let reply = match queue.front_mut() {
            Some(front) => match &mut front.times {
                Times::Count(left) if *left > 1 => {
                    *left -= 1;
                    Some(front.clone())
                }
                Times::Always => Some(front.clone()),
                Times::Count(_) => queue.pop_front(),
            },
            None => None,
        };
        if queue.is_empty() {
            queues.remove(key);
            self.armed[index].store(queues.len(), Ordering::Release);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(provider: Provider, token: &str, replies: Vec<Reply>) -> Script {
        Script { provider, token: token.to_owned(), replies }
    }

    #[test]
    fn replies_have_their_turns_and_then_the_provider_judges_for_itself() {
        let scripts = Scripts::default();
        let replies = vec![Reply::status(500).times(2), Reply::status(503)];
        scripts.add(script(Provider::Apns, "AB", replies)).unwrap();
        let turns: Vec<_> = (0..4).map(|_| scripts.next(Provider::Apns, "ab").and_then(|reply| reply.status)).collect();
        assert_eq!(turns, [Some(500), Some(500), Some(503), None]);
    }

    #[test]
    fn a_star_script_serves_tokens_without_their_own() {
        let scripts = Scripts::default();
        scripts.add(script(Provider::Fcm, "*", vec![Reply::status(500).always()])).unwrap();
        scripts.add(script(Provider::Fcm, "mine", vec![Reply::status(404)])).unwrap();
        assert_eq!(scripts.next(Provider::Fcm, "mine").and_then(|reply| reply.status), Some(404));
        assert_eq!(scripts.next(Provider::Fcm, "mine").and_then(|reply| reply.status), Some(500));
        assert_eq!(scripts.next(Provider::Apns, "mine"), None);
        scripts.clear(Some(Provider::Fcm), None);
        assert_eq!(scripts.next(Provider::Fcm, "mine"), None);
    }

    #[test]
    fn a_phone_number_is_one_token_with_or_without_its_plus() {
        assert_eq!(canonical(Provider::Sms, "48501502503"), "+48501502503");
        assert_eq!(canonical(Provider::Sms, " 48501502503"), "+48501502503");
        assert_eq!(canonical(Provider::Sms, "+48501502503"), "+48501502503");
    }

    #[test]
    fn unknown_fields_of_a_script_are_refused() {
        let text = r#"{"provider": "apns", "token": "ab", "replies": [{"status": 410, "colour": "red"}]}"#;
        assert!(serde_json::from_str::<Script>(text).is_err());
        let text = r#"{"provider": "apns", "token": "ab", "replies": [{"status": 410, "times": 0}]}"#;
        assert!(serde_json::from_str::<Script>(text).is_err());
        let text = r#"{"provider": "apns", "token": "ab", "replies": [{"status": 410, "times": "always"}]}"#;
        assert!(serde_json::from_str::<Script>(text).is_ok());
    }
}
