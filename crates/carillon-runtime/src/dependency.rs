//! What the process depends on, shown in `/readyz` as it comes and goes.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::{ReadyHandle, Scope};

/// How often a dependency is asked that does not speak up by itself.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

impl Scope {
    /// Shows in `/readyz` what a dependency tells of itself. `say` gives whether all is well, and a few words that may be shown to
    /// whoever reaches the admin port. Nobody is turned away by it ([`Scope::dependency`]).
    pub fn show<T: Send + Sync + 'static>(
        &self,
        name: &'static str,
        mut told: watch::Receiver<T>,
        say: impl Fn(&T) -> (bool, &'static str) + Send + 'static,
    ) {
        let (shown, stopping) = (self.dependency(name), self.stopping());
        self.spawn_helper(format!("{name} status"), async move {
            loop {
                let (well, words) = say(&told.borrow_and_update());
                shown.set(well, words);
                match stopping.run_until_cancelled(told.changed()).await {
                    Some(Ok(())) => {}
                    _ => return,
                }
            }
        });
    }

    /// Shows in `/readyz` whether a dependency answers, asked every few seconds. Nobody is turned away by it
    /// ([`Scope::dependency`]).
    pub fn ask<E, F>(&self, name: &'static str, question: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), E>> + Send,
        E: Display + Send,
    {
        let (shown, stopping) = (self.dependency(name), self.stopping());
        self.spawn_helper(format!("{name} status"), async move {
            let asking = async {
                loop {
                    answered(&shown, timeout(ANSWER, question()).await.ok());
                    sleep(ASK_EVERY).await;
                }
            };
            stopping.run_until_cancelled(asking).await;
        });
    }
}

fn answered<E: Display>(shown: &ReadyHandle, answer: Option<Result<(), E>>) {
    match answer {
        Some(Ok(())) => shown.set(true, "answers"),
        Some(Err(error)) => shown.set(false, error.to_string()),
        None => shown.set(false, "does not answer in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestScope;

    fn shown(test: &TestScope, name: &str) -> (bool, String) {
        let report = serde_json::to_value(test.scope().ready().report()).unwrap();
        let part = report["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap().clone();
        (part["ready"].as_bool().unwrap(), part["detail"].as_str().unwrap().to_owned())
    }

    /// Lets the tasks run that are ready to.
    async fn settle() {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_dependency_tells_is_shown_and_turns_nobody_away() {
        let test = TestScope::new("x");
        let (tell, told) = watch::channel(false);
        test.scope().show("broker", told, |up| (*up, if *up { "connected" } else { "is not connected" }));
        settle().await;
        assert_eq!(shown(&test, "broker"), (false, "is not connected".into()));
        assert!(test.is_ready());
        tell.send(true).unwrap();
        settle().await;
        assert_eq!(shown(&test, "broker"), (true, "connected".into()));
        test.stop().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_does_not_answer_is_shown_as_such_until_it_does() {
        let test = TestScope::new("x");
        let (give, given) = watch::channel(None);
        test.scope().ask("database", move || {
            let mut given = given.clone();
            async move {
                let answer: Result<(), &str> = given.wait_for(Option::is_some).await.unwrap().unwrap_or(Ok(()));
                answer
            }
        });
        sleep(ANSWER + Duration::from_millis(1)).await;
        assert_eq!(shown(&test, "database"), (false, "does not answer in time".into()));
        give.send(Some(Err("is not available"))).unwrap();
        sleep(ASK_EVERY).await;
        assert_eq!(shown(&test, "database"), (false, "is not available".into()));
        give.send(Some(Ok(()))).unwrap();
        sleep(ASK_EVERY).await;
        assert_eq!(shown(&test, "database"), (true, "answers".into()));
        test.stop().await.unwrap();
    }
}
