//! B6: Web Push with a fresh key pair for each message, CPU a push of the dispatcher, against the cryptography of the same messages alone
//! and a bare loop on the h2 crate that sends what comes of it.

use anyhow::Result;
use carillon_domain::platform::Platform;
use serde_json::json;

use crate::dispatch::{Dispatch, Setup};
use crate::pairs::{By, Measured, Pairs, Spread};
use crate::report::{Row, say};
use crate::stack::Stack;
use crate::{Options, subscriptions};

/// B6.
pub(crate) async fn run(options: &Options, stack: &Stack) -> Result<Row> {
    let setup = Setup { count: options.size(40_000, 500), streams: 1000, ..Setup::default() };
    let dispatch = Dispatch::start(stack, Platform::Webpush, setup).await?;
    dispatch.ours().await?;
    let crypto = std::sync::Mutex::new(Vec::new());
    let floor = async || {
        let (_, cpu) = subscriptions::measure(&dispatch.plaintexts(), dispatch.count)?;
        if let Ok(mut crypto) = crypto.lock() {
            crypto.push(cpu.as_secs_f64() * 1e6 / dispatch.count as f64);
        }
        let sending = dispatch.floor().await?;
        Ok(Measured { own: sending.own + cpu, ..sending })
    };
    let pairs = Pairs::measure(options.pairs, || dispatch.ours(), floor).await?;
    let by = By::Cost(Measured::own_us);
    let mut row = Row::of("B6", "Web Push, a fresh key a message", "us/push", [0.60, 0.80, 0.92], by, &pairs);
    let crypto = Spread::of(crypto.into_inner().unwrap_or_default()).median;
    say(&format!("    {crypto:.1} us of the floor are cryptography"));
    row.figures["floor_crypto_us"] = json!(crypto);
    let words =
        "keys, agreement, HKDF and AES-128-GCM of the same messages with ring, and a bare h2 loop that sends them";
    Ok(row.reference(words).bound_by("the agreement of keys; then as B4"))
}
