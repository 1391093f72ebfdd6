//! Broad audiences: an app's persons, page by page, and what is asked of their devices.

use super::Expansion;
use super::condition::{Asked, Parameter};
use super::recipient::{DEVICE_COLUMNS, Recipient, device_row};
use crate::{Error, Result};
use carillon_domain::condition::Condition;
use carillon_domain::ids::{AppKey, DeviceKey};
use carillon_domain::platform::{Os, Platform};
use deadpool_postgres::Object;
use futures::TryStreamExt as _;
use futures::future::ready;
use jiff::Timestamp;
use std::collections::HashSet;
use tokio_postgres::types::{ToSql, Type};

/// The persons of a page of a broad audience, whole.
pub struct PersonsPage {
    /// Their devices that are meant, in the order of (person, key).
    pub devices: Vec<Recipient>,
    /// The last person that was walked, whether meant or not; nothing when nobody was left.
    pub cursor: Option<String>,
    /// Nobody follows.
    pub last: bool,
}

/// Which devices of an app are meant.
#[derive(Clone, Copy)]
pub struct Narrowing<'a> {
    /// Only these platforms; all when empty.
    pub platforms: &'a [Platform],
    /// Only these operating systems; all when empty.
    pub os: &'a [Os],
    /// Only devices of which this is true.
    pub condition: Option<&'a Condition>,
    /// When the run began. What was registered since, or was no device then, is not meant: somebody who logs in while the audience is walked has a device
    /// that is new under a name that comes later, and was sent to as who it was before. It is also what `now()` means in the condition.
    pub began: Timestamp,
}

impl Narrowing<'_> {
    fn leaves_some_out(&self) -> bool {
        !self.platforms.is_empty() || !self.os.is_empty() || self.condition.is_some()
    }
}

/// How many times more devices a page walks than it may bring, where not all are meant.
const NARROWED: usize = 4;
/// Above every person's key.
const BEYOND_ALL: &str = "v";

impl Expansion {
    /// The devices of the next persons of an app after a person. About `limit` devices, but always whole persons, however many
    /// devices one of them has. Where not all are meant, more are walked and only those returned, so that one statement
    /// is bounded however few they are.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn page(
        &self,
        app: AppKey,
        after: Option<&str>,
        narrowing: Narrowing<'_>,
        limit: usize,
    ) -> Result<PersonsPage> {
        // Sizing a page, devices that are not meant count too: so the index alone answers, without a look at every row.
        const BOUNDS: &str = "
            SELECT (SELECT d.person FROM devices d WHERE d.app_key = $1 AND d.person > $2 AND d.state <> 5
                    ORDER BY d.person, d.device_key LIMIT 1),
                   (SELECT d.person FROM devices d WHERE d.app_key = $1 AND d.person > $2 AND d.state <> 5
                    ORDER BY d.person, d.device_key OFFSET $3 LIMIT 1)";
        const LAST_WALKED: &str = "
            SELECT d.person FROM devices d WHERE d.app_key = $1 AND d.person > $2 AND d.person < $3 AND d.state <> 5
            ORDER BY d.person DESC LIMIT 1";
        let after = after.unwrap_or("");
        let walked = if narrowing.leaves_some_out() { limit.saturating_mul(NARROWED) } else { limit } as i64;
        let client = self.client()?;
        let bounds = client.prepare_cached(BOUNDS).await?;
        let bounds = client.query_one(&bounds, &[&app.0, &after, &walked]).await?;
        let (first, beyond): (Option<String>, Option<String>) = (bounds.get(0), bounds.get(1));
        let Some(first) = first else { return Ok(PersonsPage { devices: Vec::new(), cursor: None, last: true }) };
        // The person of the first device beyond the page may have more there, so that person is the next page's; one who fills
        // the page alone has it alone.
        let end = match &beyond {
            None => BEYOND_ALL.to_owned(),
            Some(person) if *person == first => format!("{first}\u{1}"),
            Some(person) => person.clone(),
        };
        let last_walked = client.prepare_cached(LAST_WALKED).await?;
        let last_walked = client.query_opt(&last_walked, &[&app.0, &after, &end]).await?;
        let devices = devices_between(client, app, after, &end, narrowing).await?;
        Ok(PersonsPage { devices, cursor: Some(last_walked.map_or(first, |row| row.get(0))), last: beyond.is_none() })
    }

    /// Those of some devices of which a condition is true.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is away.
    pub async fn meeting(
        &self,
        devices: &[DeviceKey],
        condition: &Condition,
        now: Timestamp,
    ) -> Result<HashSet<DeviceKey>> {
        let keys: Vec<i64> = devices.iter().map(|key| key.0).collect();
        let mut asked = Asked::after(vec![(Box::new(keys), Type::INT8_ARRAY)], now);
        let condition = asked.condition(condition);
        let sql = format!("SELECT d.device_key FROM devices d WHERE d.device_key = ANY($1) AND {condition}");
        let rows = self.client()?.query_typed_raw(&sql, asked.parameters).await?;
        rows.map_ok(|row| DeviceKey(row.get(0))).map_err(Error::from).try_collect().await
    }
}

/// The devices that are meant of the persons between two, in the order of (person, key).
async fn devices_between(
    client: &Object,
    app: AppKey,
    after: &str,
    end: &str,
    narrowing: Narrowing<'_>,
) -> Result<Vec<Recipient>> {
    let platforms: Vec<i16> = narrowing.platforms.iter().map(|p| p.number()).collect();
    let os: Vec<i16> = narrowing.os.iter().map(|o| o.number()).collect();
    let select = |condition: &str| {
        format!(
            "SELECT {DEVICE_COLUMNS} FROM devices d
             WHERE d.app_key = $1 AND d.person > $2 AND d.person < $3 AND d.state IN (1, 2)
               AND (cardinality($4::int2[]) = 0 OR d.platform = ANY($4)) AND (cardinality($5::int2[]) = 0 OR d.os = ANY($5))
               AND d.state_at <= $6
               AND {condition}
             ORDER BY d.person, d.device_key"
        )
    };
    // Texts of conditions are as many as callers write, and the cache of statements would keep them all.
    let rows = if let Some(condition) = narrowing.condition {
        let parameters: Vec<Parameter> = vec![
            (Box::new(app.0), Type::INT4),
            (Box::new(after.to_owned()), Type::TEXT),
            (Box::new(end.to_owned()), Type::TEXT),
            (Box::new(platforms), Type::INT2_ARRAY),
            (Box::new(os), Type::INT2_ARRAY),
            (Box::new(narrowing.began), Type::TIMESTAMPTZ),
        ];
        let mut asked = Asked::after(parameters, narrowing.began);
        let condition = asked.condition(condition);
        client.query_typed_raw(&select(&condition), asked.parameters).await?
    } else {
        let statement = client.prepare_cached(&select("true")).await?;
        let parameters: [&(dyn ToSql + Sync); 6] = [&app.0, &after, &end, &platforms, &os, &narrowing.began];
        client.query_raw(&statement, parameters).await?
    };
    // Read one by one: a page of rows beside the same page of devices would be twice the memory.
    rows.map_err(Error::from).and_then(|row| ready(device_row(&row, 0))).try_collect().await
}
