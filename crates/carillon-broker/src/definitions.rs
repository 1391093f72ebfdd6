//! The topology as text for people: a table that a snapshot test can hold, and definitions that `rabbitmqctl
//! import_definitions` takes.

use std::fmt::Write;

use serde_json::json;

use crate::topology::{DELIVERY_LIMIT, Topology};

/// Most messages a work queue holds before it refuses: the ledger keeps the rest, and quorum queues recover by reading
/// their whole log on RabbitMQ 3.10.
const MOST_READY: u32 = 200_000;
/// Most messages that wait for an operator.
const MOST_PARKED: u32 = 1_000_000;

impl Topology {
    /// One line per exchange, queue and binding, in the order of declaration; equal topologies give equal text.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for exchange in &self.exchanges {
            let alternate = exchange.alternate.map(|name| format!(" else {name}")).unwrap_or_default();
            let _ = writeln!(text, "exchange {} {}{alternate}", exchange.name, exchange.kind.as_str());
        }
        for queue in &self.queues {
            let net = if queue.net {
                format!(" limit {DELIVERY_LIMIT} then {}", self.parked)
            } else {
                " without limit".to_owned()
            };
            let _ = writeln!(text, "queue {} of {} quorum{net}", queue.name, queue.event);
            for binding in queue.bindings {
                let _ = writeln!(text, "  from {} by {}", binding.exchange, binding.key);
            }
            if queue.name == self.unroutable {
                let _ = writeln!(text, "  from {} by any key", self.unroutable);
            }
        }
        text
    }

    /// RabbitMQ definitions (JSON) with the policies of `vhost`: bounds on the queues, which refuse when full. Everything
    /// else is declared by the services themselves.
    pub fn definitions(&self, vhost: &str) -> String {
        let policies: Vec<_> = self
            .queues
            .iter()
            .map(|queue| {
                let most = if queue.net { MOST_READY } else { MOST_PARKED };
                json!({
                    "vhost": vhost,
                    "name": format!("carillon-{}", queue.name),
                    "pattern": format!("^{}$", escaped(queue.name)),
                    "apply-to": "queues",
                    "priority": 0,
                    "definition": { "max-length": most, "overflow": "reject-publish" },
                })
            })
            .collect();
        format!("{:#}\n", json!({ "policies": policies }))
    }
}

/// The name as a regular expression that matches only itself.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() && character != '_' && character != '-' {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::Raw;
    use crate::topology::{Binding, Exchange, ExchangeKind, Queue, Topology};

    const WORK: Queue<Raw> = Queue::new("worker.jobs.bulk", &[Binding { exchange: "work", key: "jobs.bulk" }]);
    const DIRECT: Queue<Raw> = Queue::new("worker.direct", &[]);

    fn topology() -> Topology {
        let work = Exchange { name: "work", kind: ExchangeKind::Topic, alternate: Some("unroutable") };
        Topology::new(&[work], &[WORK.spec(), DIRECT.spec()])
    }

    #[test]
    fn the_table_names_everything_once_in_a_stable_order() {
        expect![[r#"
            exchange unroutable fanout
            exchange work topic else unroutable
            queue parked of any quorum without limit
            queue unroutable of any quorum without limit
              from unroutable by any key
            queue worker.jobs.bulk of raw quorum limit 100 then parked
              from work by jobs.bulk
            queue worker.direct of raw quorum limit 100 then parked
        "#]]
        .assert_eq(&topology().table());
    }

    #[test]
    fn a_policy_matches_its_queue_and_no_other() {
        let definitions: serde_json::Value = serde_json::from_str(&topology().definitions("/")).unwrap();
        let policies = definitions["policies"].as_array().unwrap();
        assert_eq!(policies.len(), 4);
        assert_eq!(policies[2]["pattern"], r"^worker\.jobs\.bulk$");
        assert_eq!(policies[2]["definition"]["overflow"], "reject-publish");
    }

    #[test]
    fn a_queue_is_published_to_by_its_first_binding_or_by_its_name() {
        assert_eq!(WORK.route(), Binding { exchange: "work", key: "jobs.bulk" });
        assert_eq!(DIRECT.route(), Binding { exchange: "", key: "worker.direct" });
    }
}
