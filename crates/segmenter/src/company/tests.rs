use super::*;
use carillon_broker::Outgoing;
use carillon_domain::platform::Lane;
use carillon_wire::events::AcceptedNotification;
use carillon_wire::topology;
use futures::future::{join_all, pending};
use futures::poll;
use std::task::Poll;

fn event(names: &[u8]) -> NotificationsAccepted {
    let notification = |name: &u8| AcceptedNotification { id: vec![*name; 16], ..Default::default() };
    NotificationsAccepted { notifications: names.iter().map(notification).collect() }
}

/// What was done, in the order in which it ended; a transaction takes ten milliseconds.
#[derive(Default)]
struct Done(Mutex<Vec<Vec<u8>>>);

impl Done {
    async fn work(&self, event: NotificationsAccepted, outcome: Outcome) -> Result<Option<Effects>, Error> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match outcome {
            Outcome::Commits => {
                self.0.lock().unwrap().push(event.notifications.iter().map(|one| one.id[0]).collect());
                Ok(Some(Effects::default()))
            }
            Outcome::Fails => Err(Error::Unavailable("gone".to_owned())),
            Outcome::IsTooMuch => Ok(None),
            Outcome::Panics => panic!("one of them"),
        }
    }

    /// One wake-up, as the handler does it; what is shared ends so, and what is done alone commits.
    async fn wake(&self, company: &Company, names: &[u8], outcome: Outcome) {
        let event = event(names);
        match company.share(&event, |merged| self.work(merged, outcome)).await {
            Shared::Done(_) => {}
            Shared::Alone(_turn) => {
                self.work(event, Outcome::Commits).await.unwrap();
            }
        }
    }

    fn all(self) -> Vec<Vec<u8>> {
        self.0.into_inner().unwrap()
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Commits,
    Fails,
    IsTooMuch,
    Panics,
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_transaction_is_under_way_shares_the_next() {
    let (company, done) = (Company::default(), Done::default());
    join_all([&[1], &[2], &[3], &[4]].map(|name| done.wake(&company, name, Outcome::Commits))).await;
    done.wake(&company, &[5], Outcome::Commits).await;
    let mut all = done.all();
    all.iter_mut().for_each(|group| group.sort_unstable());
    assert_eq!(all, [vec![1], vec![2, 3, 4], vec![5]]);
}

#[tokio::test(start_paused = true)]
async fn what_a_group_publishes_is_one_member_s_to_publish_and_the_others_wait_for_the_commit_only() {
    let company = Company::default();
    let outgoing = || vec![Outgoing::to(topology::runs(Lane::Transactional), &event(&[9]))];
    let work = |_| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(Some(outgoing()))
    };
    let events = [event(&[1]), event(&[2]), event(&[3])];
    let Shared::Alone(turn) = company.share(&events[0], work).await else { panic!("it is alone") };
    let mut leading = Box::pin(company.share(&events[1], work));
    let mut following = Box::pin(company.share(&events[2], work));
    assert!(poll!(&mut leading).is_pending() && poll!(&mut following).is_pending());
    drop(turn);
    assert!(poll!(&mut leading).is_pending());
    tokio::time::sleep(Duration::from_millis(9)).await;
    assert!(poll!(&mut leading).is_pending() && poll!(&mut following).is_pending(), "not before the commit");
    let Shared::Done(effects) = leading.await else { panic!("they shared") };
    assert_eq!(effects.len(), 1);
    // Nothing of it is published yet.
    let Poll::Ready(Shared::Done(effects)) = poll!(&mut following) else { panic!("it is committed") };
    assert!(effects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_group_waits_for_nobody_and_none_is_more_than_full() {
    let (company, done) = (Company::default(), Done::default());
    let began = Instant::now();
    let names: Vec<u8> = (10..10 + FULL as u8).collect();
    let (first, second) = (&names[..], vec![1; limits::WAKEUP_NOTIFICATIONS]);
    tokio::join!(
        done.wake(&company, &[0], Outcome::Commits),
        done.wake(&company, first, Outcome::Commits),
        done.wake(&company, &second, Outcome::Commits)
    );
    assert_eq!(began.elapsed(), Duration::from_millis(10), "all at once");
    let mut sizes: Vec<usize> = done.all().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, first.len(), second.len()]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_together_is_done_alone() {
    for outcome in [Outcome::Fails, Outcome::IsTooMuch, Outcome::Panics] {
        let (company, done) = (Company::default(), Done::default());
        join_all([&[1], &[2], &[3]].map(|name| done.wake(&company, name, outcome))).await;
        let mut all = done.all();
        all.sort();
        assert_eq!(all, [[1], [2], [3]]);
        assert_eq!(company.state().turns, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_for_a_transaction_that_does_not_end() {
    let company = Company::default();
    let (first, second) = (event(&[1]), event(&[2]));
    let Shared::Alone(_turn) = company.share(&first, |_| pending()).await else { panic!("it is alone") };
    let began = Instant::now();
    assert!(matches!(company.share(&second, |_| pending()).await, Shared::Alone(Some(_))));
    assert_eq!(began.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn who_was_taken_along_by_one_that_goes_away_is_done_alone() {
    let company = Company::default();
    let events = [event(&[1]), event(&[2]), event(&[3])];
    let Shared::Alone(turn) = company.share(&events[0], |_| pending()).await else { panic!("it is alone") };
    let mut leading = Box::pin(company.share(&events[1], |_| pending()));
    let mut following = Box::pin(company.share(&events[2], |_| pending()));
    assert!(poll!(&mut leading).is_pending() && poll!(&mut following).is_pending());
    drop(turn);
    assert!(poll!(&mut leading).is_pending() && poll!(&mut following).is_pending());
    assert!(company.state().waiting.is_empty(), "both are under way");
    drop(leading);
    assert!(matches!(poll!(&mut following), Poll::Ready(Shared::Alone(None))));
    assert_eq!(company.state().turns, 0);
}
