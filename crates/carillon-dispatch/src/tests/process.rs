//! The whole of it, with a real RabbitMQ whose URL is in CARILLON_AMQP__URL (`make test` starts one).

use std::time::Duration;

use carillon_broker::{Broker, Outgoing};
use carillon_domain::delivery_status::Status;
use carillon_domain::platform::{Lane, Platform};
use carillon_runtime::TestScope;
use carillon_runtime::config::{HumanDuration, Secret};
use carillon_wire::events::DispatchChunks;
use carillon_wire::topology;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ledger::{EPOCH_MS, FakeLedger};
use super::world::{MASTER, Scripted, chunk};
use crate::config::{Config, InternalConfig, LedgerConfig, SecretsConfig};

#[allow(clippy::disallowed_methods, reason = "tests find their servers where `make test` says they are")]
fn broker_url() -> String {
    std::env::var("CARILLON_AMQP__URL").expect("CARILLON_AMQP__URL is not set: run the tests with `make test`")
}

fn config(ledger: String) -> Config {
    Config {
        amqp: carillon_broker::Config::new(broker_url()),
        dispatch: Default::default(),
        ledger: LedgerConfig { url: vec!["http://127.0.0.1:1".into(), ledger], timeout: HumanDuration::from_secs(2) },
        internal: InternalConfig { token: Secret::new("internal"), listen: None },
        secrets: SecretsConfig { key: Some(Secret::new(MASTER)), kind_keys: None },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_in_either_lane_is_sent_reported_and_acknowledged() {
    let mut tasks = JoinSet::new();
    let ledger = FakeLedger::new();
    let url = ledger.listen(&mut tasks).await;
    let process = TestScope::new("dispatcher-apns");
    crate::start(config(url), Scripted::sends(), Platform::Apns, process.scope()).await.unwrap();

    let stop = CancellationToken::new();
    let amqp = carillon_broker::Config::new(broker_url());
    let broker = Broker::connect(&amqp, "test", topology::topology(), stop.clone()).unwrap();
    for (number, lane) in [(71, Lane::Transactional), (72, Lane::Bulk)] {
        let mut chunks = chunk(number, 40);
        // The ledger of this test counts from a time of its own.
        chunks.expires_at_ms = EPOCH_MS * 2;
        let event = DispatchChunks { chunks: vec![chunks], published_at_ms: EPOCH_MS };
        broker.publisher().publish(Outgoing::to(topology::chunks(Platform::Apns, lane), &event)).await.unwrap();
    }
    let mut committed = ledger.committed.subscribe();
    let sent = committed.wait_for(|_| {
        [71, 72].map(|number| (ledger.outcomes(number).len(), ledger.released(number))) == [(40, true); 2]
    });
    tokio::time::timeout(Duration::from_secs(30), sent).await.expect("both chunks are reported").unwrap();
    assert!(ledger.outcomes(71).values().all(|o| o.status == Status::Sent as u32));

    process.stop().await.unwrap();
    for count in broker.inspector().queues().await.unwrap() {
        let ours = Lane::ALL.iter().any(|lane| count.queue == topology::chunks(Platform::Apns, *lane).name());
        assert!(!ours || count.ready == Some(0), "acknowledged before the drain, so nothing came back");
    }
    stop.cancel();
    broker.drained().await.unwrap();
}
