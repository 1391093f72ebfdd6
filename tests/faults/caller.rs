//! A caller's backend: it knows both replicas of the API, puts up with what a good client puts up with, and keeps a book of
//! what was accepted.

use crate::dice::Dice;
use crate::http::{Answer, Http};
use ::http::Method;
use anyhow::{Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// All attempts of one call.
const ENDURANCE: Duration = Duration::from_secs(120);

/// A caller with its key. Clones share the book.
#[derive(Clone)]
pub(crate) struct Caller {
    bases: Vec<Http>,
    /// Which replica is next: thrown, not in turns, or a load that repeats itself would always meet the same one with the same kind of call.
    turn: Arc<Mutex<Dice>>,
    book: Arc<Mutex<Book>>,
}

/// What a caller wrote down.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Accepted notifications: id, and the ids of the devices that it is for.
    pub(crate) accepted: Vec<(String, Arc<Vec<String>>)>,
    /// Answers by status; 0 counts the calls that got none.
    pub(crate) answers: BTreeMap<u16, u64>,
    /// Calls that were begun and never answered: the connection broke, or five seconds passed.
    pub(crate) torn: u64,
    /// Refusals that must not be.
    pub(crate) faults: Vec<String>,
    /// Milliseconds of every answer, by status.
    pub(crate) took: Vec<(u16, f64)>,
}

impl Caller {
    /// For a key.
    pub(crate) fn new(bases: &[Http], key: &str) -> Self {
        let bases = bases.iter().map(|base| base.with_key(key)).collect();
        Self { bases, turn: Arc::new(Mutex::new(Dice::new(0, "replica"))), book: Arc::default() }
    }

    /// What was written down so far.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt, at either replica; None if there is no answer within five seconds.
    pub(crate) async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Option<Answer> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner).below(self.bases.len());
        let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let began = Instant::now();
        let call = self.bases[turn].call(method, path, body, &headers);
        let outcome = tokio::time::timeout(PATIENCE, call).await;
        let torn = outcome.as_ref().map_or(true, |called| called.as_ref().is_err_and(|error| !is_refused(error)));
        let answer = outcome.ok().and_then(Result::ok);
        let status = answer.as_ref().map_or(0, |answer| answer.status.as_u16());
        let mut book = self.book();
        book.torn += u64::from(torn);
        *book.answers.entry(status).or_default() += 1;
        book.took.push((status, began.elapsed().as_secs_f64() * 1_000.0));
        answer
    }

    /// Attempts until there is an answer that is neither 429, 503 nor 409 with a call still in flight.
    ///
    /// # Errors
    /// If there is none for two minutes.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Answer> {
        let began = Instant::now();
        while began.elapsed() < ENDURANCE {
            match self.once(method.clone(), path, body, key).await {
                Some(answer) if ![409, 429, 503].contains(&answer.status.as_u16()) => return Ok(answer),
                Some(answer) if answer.status == 409 && answer.words().contains("invalid_state") => return Ok(answer),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        bail!("{method} {path}: no answer for {} s", ENDURANCE.as_secs())
    }

    /// Sends, and writes down what was accepted and for whom.
    ///
    /// # Errors
    /// As [`Caller::call`].
    pub(crate) async fn send(&self, body: &Value, key: &str, devices: Arc<Vec<String>>) -> Result<Option<String>> {
        let answer = self.call(Method::POST, "/v1/notifications", Some(body), Some(key)).await?;
        if answer.status != 202 {
            self.book().faults.push(format!("send: {} {}", answer.status, answer.words()));
            return Ok(None);
        }
        let id = answer.success("send")?["id"].as_str().unwrap_or_default().to_owned();
        self.book().accepted.push((id.clone(), devices));
        Ok(Some(id))
    }

    /// `GET` that has to succeed.
    ///
    /// # Errors
    /// As [`Caller::call`], and any other status than 2xx.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None, None).await?.success(path)
    }
}

/// Whether nobody was there to connect to: what a load balancer spares a caller.
fn is_refused(error: &anyhow::Error) -> bool {
    let client = error.chain().find_map(|one| one.downcast_ref::<hyper_util::client::legacy::Error>());
    client.is_some_and(hyper_util::client::legacy::Error::is_connect)
}
