//! A device's row as it is written.

use super::merge::Merged;
use super::put::Call;
use super::row::Device;
use carillon_domain::delivery_status::Reason;
use carillon_domain::phone::Phone;
use carillon_domain::push_token::PushToken;
use tokio_postgres::types::ToSql;

pub(super) const INSERT: &str = "INSERT INTO devices (platform, os, token, is_fid, p256dh, auth, token_hash, environment, generation,
        user_id, phone, name, locale, timezone, is_primary, permission, tags, attributes, app_version, os_version, state,
        reason, registered_at, last_seen_at, person, tenant_key, app_key, device, secret_hash, last_sent_at)
    VALUES ($1, $2, $3, $4, $5, $6, sha256($7::bytea), $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
        ($18::text::jsonb || $19::text::jsonb) - $20::text[], $21, $22, $23, $24,
        CASE WHEN $25 THEN now() ELSE coalesce($28::timestamptz, now()) END,
        CASE WHEN $26 THEN now() ELSE coalesce($29::timestamptz, now()) END,
        $27, $30, $31, $32, $33, $34)";

pub(super) const UPDATE: &str =
    "UPDATE devices SET platform = $1, os = $2, token = $3, is_fid = $4, p256dh = $5, auth = $6,
        token_hash = sha256($7::bytea), environment = $8, generation = $9, user_id = $10, phone = $11, name = $12,
        locale = $13, timezone = $14, is_primary = $15, permission = $16, tags = $17,
        attributes = ($18::text::jsonb || $19::text::jsonb) - $20::text[], app_version = $21, os_version = $22,
        state_at = CASE WHEN state = $23 THEN state_at ELSE now() END, state = $23, reason = $24,
        registered_at = CASE WHEN $25 THEN now() ELSE registered_at END,
        last_seen_at = CASE WHEN $26 THEN now() ELSE last_seen_at END, person = $27
    WHERE device_key = $28";

/// The values of both statements, owned for as long as the statement runs.
pub(super) struct Values<'a> {
    shared: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
    insert_only: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Values<'a> {
    pub(super) fn of(call: &'a Call<'a>, merged: &'a Merged, old: Option<&'a Device>) -> Self {
        let m = merged;
        let (is_fid, p256dh, auth) = match &m.token {
            Some(PushToken::Webpush { p256dh, auth, .. }) => (false, Some(p256dh.as_slice()), Some(auth.as_slice())),
            Some(PushToken::FcmInstallation(_)) => (true, None, None),
            _ => (false, None, None),
        };
        let (before, set, removed) = &m.attributes;
        let shared: Vec<Box<dyn ToSql + Sync + Send + 'a>> = vec![
            Box::new(m.platform.number()),
            Box::new(m.os.number()),
            Box::new(m.token.as_ref().map(PushToken::identity)),
            Box::new(is_fid),
            Box::new(p256dh),
            Box::new(auth),
            Box::new(m.token.as_ref().map(token_bytes)),
            Box::new(m.environment.number()),
            Box::new(m.generation.max(1)),
            Box::new(m.user_id.as_deref()),
            Box::new(m.phone.as_ref().map(Phone::as_str)),
            Box::new(m.name.as_deref()),
            Box::new(m.locale.as_deref()),
            Box::new(m.timezone.as_deref()),
            Box::new(m.primary),
            Box::new(m.permission.number()),
            Box::new(&m.tags),
            Box::new(before),
            Box::new(set),
            Box::new(removed),
            Box::new(m.app_version.as_deref()),
            Box::new(m.os_version.as_deref()),
            Box::new(m.state.number()),
            Box::new(m.reason.map(Reason::number)),
            Box::new(m.registers),
            Box::new(m.registers || call.who.is_app()),
            Box::new(m.person.key()),
        ];
        // A device that changes hands keeps its own key and times: the installation is the same.
        let secret = call.who.new_secret().or_else(|| old.and_then(|row| row.secret_hash.clone()));
        let insert_only: Vec<Box<dyn ToSql + Sync + Send + 'a>> = vec![
            Box::new(old.map(|row| row.registered_at)),
            Box::new(old.map(|row| row.last_seen_at)),
            Box::new(call.tenant.0),
            Box::new(call.app.0),
            Box::new(call.device),
            Box::new(secret),
            Box::new(old.and_then(|row| row.last_sent_at)),
        ];
        Self { shared, insert_only }
    }

    pub(super) fn insert(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.shared.iter().chain(&self.insert_only).map(|v| v.as_ref() as &(dyn ToSql + Sync)).collect()
    }

    pub(super) fn update<'b>(&'b self, device_key: &'b i64) -> Vec<&'b (dyn ToSql + Sync)> {
        let mut values: Vec<&(dyn ToSql + Sync)> =
            self.shared.iter().map(|v| v.as_ref() as &(dyn ToSql + Sync)).collect();
        values.push(device_key);
        values
    }
}

/// What the hash of a token is made of: two kinds of token with the same text are two tokens.
pub(super) fn token_bytes(token: &PushToken) -> Vec<u8> {
    let kind = match token {
        PushToken::Apns(_) => "apns:",
        PushToken::Fcm(_) => "fcm:",
        PushToken::FcmInstallation(_) => "fid:",
        PushToken::Webpush { .. } => "webpush:",
    };
    [kind.as_bytes(), token.identity().as_bytes()].concat()
}
