//! Whom a list of names means: read in one transaction, and no more of it than one transaction may hold.

use super::Expansion;
use super::recipient::{DEVICE_COLUMNS, Recipient, device_row};
use crate::Result;
use carillon_domain::ids::AppKey;
use carillon_domain::person::Person;
use deadpool_postgres::Object;
use std::collections::HashSet;

/// One name in a listed audience.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Which run asks (the caller's index).
    pub run: i32,
    /// The app to look in.
    pub app_key: AppKey,
    /// What is named.
    pub name: SelectorName,
}

/// What a selector names.
#[derive(Clone, Debug)]
pub enum SelectorName {
    /// A device by its public id.
    Device(String),
    /// Every device of a user.
    User(String),
    /// Every device of each person who has a device with this phone number, in E.164.
    Phone(String),
}

/// A device found by a selector.
pub struct Selected {
    /// The run that asked.
    pub run: i32,
    /// The index of the selector in the list given.
    pub selector: usize,
    /// The device; invalid ones too, so that the caller can say why a person has none.
    pub device: Recipient,
}

/// What selectors mean.
pub struct Selection {
    /// Devices in the order of (run, person, key), forgotten ones excepted.
    pub found: Vec<Selected>,
    /// Selectors that nobody answers to at all, wherever the walk is.
    pub absent: HashSet<usize>,
    /// There are more devices than were asked for. What is found of persons before this one is all that they have; of this one and those after,
    /// some may be missing. Only where a place to begin after was given.
    pub horizon: Option<Person>,
    /// There are more devices than were asked for.
    pub cut: bool,
}

/// The kinds of names, each with the column that it stands in.
const KINDS: [&str; 3] = ["device", "person", "phone"];

impl Expansion {
    /// What selectors mean, at most `most` devices of each kind of name. With `after`, a person's key, only persons behind it are read, in
    /// their order, so that a list can be walked page by page; without, the devices come as they are found.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn select(&self, selectors: &[Selector], after: Option<&str>, most: usize) -> Result<Selection> {
        let client = self.client()?;
        let mut selection = Selection { found: Vec::new(), absent: HashSet::new(), horizon: None, cut: false };
        for kind in 0..KINDS.len() {
            let names = Names::of(selectors, kind);
            if names.indices.is_empty() {
                continue;
            }
            let found = names.find(client, selectors, after, most).await?;
            if found.len() > most {
                selection.cut = true;
                let last = found.last().map(|last| last.device.person.clone());
                selection.horizon = match (selection.horizon.take(), last) {
                    (Some(known), Some(last)) => Some(known.min(last)),
                    (known, last) => known.or(last),
                };
            }
            let answered: HashSet<usize> = found.iter().map(|one| one.selector).collect();
            if after.is_some() {
                // Who has nothing on this page may have something on another.
                selection.absent.extend(names.absent(client).await?);
            } else {
                selection.absent.extend(names.selectors().filter(|selector| !answered.contains(selector)));
            }
            selection.found.extend(found);
        }
        if after.is_none() {
            selection.horizon = None;
        }
        selection.found.sort_by(|a, b| {
            (a.run, a.device.person.key(), a.device.key).cmp(&(b.run, b.device.person.key(), b.device.key))
        });
        Ok(selection)
    }
}

/// The names of one kind, as columns.
struct Names {
    kind: usize,
    indices: Vec<i32>,
    apps: Vec<i32>,
    names: Vec<String>,
}

impl Names {
    fn of(selectors: &[Selector], kind: usize) -> Self {
        let mut names = Self { kind, indices: Vec::new(), apps: Vec::new(), names: Vec::new() };
        for (i, selector) in selectors.iter().enumerate() {
            let name = match (&selector.name, kind) {
                (SelectorName::Device(device), 0) => device.clone(),
                (SelectorName::User(user), 1) => Person::user(user).key().to_owned(),
                (SelectorName::Phone(phone), 2) => phone.clone(),
                _ => continue,
            };
            names.indices.push(i as i32);
            names.apps.push(selector.app_key.0);
            names.names.push(name);
        }
        names
    }

    fn selectors(&self) -> impl Iterator<Item = usize> + '_ {
        self.indices.iter().map(|i| *i as usize)
    }

    /// At most one device more than `most`, which tells that there are more.
    async fn find(
        &self,
        client: &Object,
        selectors: &[Selector],
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Selected>> {
        let join = match self.kind {
            // A phone names the person who has it, and that is whoever the device with it belongs to (contract, section 6).
            2 => "CROSS JOIN LATERAL (SELECT DISTINCT p.person FROM devices p
                                     WHERE p.app_key = s.app_key AND p.phone = s.name AND p.state <> 5) who
                 JOIN devices d ON d.app_key = s.app_key AND d.person = who.person"
                .to_owned(),
            kind => format!("JOIN devices d ON d.app_key = s.app_key AND d.{} = s.name", KINDS[kind]),
        };
        let order = if after.is_some() { "AND d.person > $5 ORDER BY d.person, d.device_key" } else { "AND $5 = ''" };
        let sql = format!(
            "SELECT s.i, {DEVICE_COLUMNS} FROM unnest($1::int[], $2::int[], $3::text[]) AS s(i, app_key, name) {join}
             WHERE d.state <> 5 {order} LIMIT $4"
        );
        let statement = client.prepare_cached(&sql).await?;
        let limit = i64::try_from(most.saturating_add(1)).unwrap_or(i64::MAX);
        let rows =
            client.query(&statement, &[&self.indices, &self.apps, &self.names, &limit, &after.unwrap_or("")]).await?;
        rows.iter()
            .map(|row| {
                let selector = row.get::<_, i32>(0) as usize;
                Ok(Selected { run: selectors[selector].run, selector, device: device_row(row, 1)? })
            })
            .collect()
    }

    /// Those that no device answers to.
    async fn absent(&self, client: &Object) -> Result<Vec<usize>> {
        let sql = format!(
            "SELECT s.i FROM unnest($1::int[], $2::int[], $3::text[]) AS s(i, app_key, name)
             WHERE NOT EXISTS (SELECT 1 FROM devices d WHERE d.app_key = s.app_key AND d.{} = s.name AND d.state <> 5)",
            KINDS[self.kind]
        );
        let statement = client.prepare_cached(&sql).await?;
        let rows = client.query(&statement, &[&self.indices, &self.apps, &self.names]).await?;
        Ok(rows.iter().map(|row| row.get::<_, i32>(0) as usize).collect())
    }
}
