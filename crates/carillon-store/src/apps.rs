//! Apps.

use crate::commit::commit;
use crate::steer::cancel_of_app;
use crate::{Cursor, Listed, PageRequest, Result, Store};
use carillon_domain::ids::{AppKey, TenantKey};
use carillon_failpoint::Point;
use jiff::Timestamp;
use tokio_postgres::Row;

/// An app of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its number in tables and events.
    pub app_key: AppKey,
    /// Its id.
    pub app: String,
    /// What it is about.
    pub settings: AppSettings,
    /// The key in every copy of the app (`cpk_`); minted once, no secret.
    pub public_key: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What may be changed of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// A name for people.
    pub name: Option<String>,
    /// URL of its icon.
    pub icon_url: Option<String>,
    /// The switch: off refuses registrations and sends.
    pub push_enabled: bool,
    /// Whether naming a person takes a signed identity; `false` (optional) is for development.
    pub identity_required: bool,
    /// The web origins that may call with the app's public key; any without.
    pub allowed_origins: Vec<String>,
    /// BCP 47 locale of its base texts.
    pub default_locale: Option<String>,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            name: None,
            icon_url: None,
            push_enabled: true,
            identity_required: true,
            allowed_origins: Vec::new(),
            default_locale: None,
        }
    }
}

const PUT: &str = "
    INSERT INTO apps (tenant_key, app, name, icon_url, push_enabled, identity, allowed_origins, default_locale, public_key)
    VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN 'required' ELSE 'optional' END, $7, $8, $9)
    ON CONFLICT (tenant_key, app) DO UPDATE SET
        name = excluded.name, icon_url = excluded.icon_url, push_enabled = excluded.push_enabled,
        identity = excluded.identity, allowed_origins = excluded.allowed_origins, default_locale = excluded.default_locale
    RETURNING app_key, app, name, icon_url, push_enabled, identity = 'required', allowed_origins, default_locale, public_key,
              created_at, xmax = 0";

const GET: &str = "
    SELECT app_key, app, name, icon_url, push_enabled, identity = 'required', allowed_origins, default_locale, public_key,
           created_at
    FROM apps WHERE tenant_key = $1 AND app = $2";

const LIST: &str = "
    SELECT app_key, app, name, icon_url, push_enabled, identity = 'required', allowed_origins, default_locale, public_key,
           created_at
    FROM apps
    WHERE tenant_key = $1 AND ($2::text[] IS NULL OR app = ANY($2))
      AND ($3::timestamptz IS NULL OR (created_at, app) < ($3, $4))
    ORDER BY created_at DESC, app DESC LIMIT $5";

impl Store {
    /// Makes an app with this public key, or replaces the settings of the one that is there, whose key stays. Says
    /// whether it is new.
    pub async fn put_app(
        &self,
        tenant_key: TenantKey,
        app: &str,
        settings: &AppSettings,
        public_key: &str,
    ) -> Result<(App, bool)> {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
            &tenant_key.0,
            &app,
            &settings.name,
            &settings.icon_url,
            &settings.push_enabled,
            &settings.identity_required,
            &settings.allowed_origins,
            &settings.default_locale,
            &public_key,
        ];
        let row = self.write_row(Point::SetupCommit, PUT, &parameters).await?;
        Ok((read_app(&row)?, row.try_get(10)?))
    }

    /// One app.
    pub async fn app(&self, tenant_key: TenantKey, app: &str) -> Result<Option<App>> {
        self.maybe_row(GET, &[&tenant_key.0, &app]).await?.as_ref().map(read_app).transpose()
    }

    /// A page of a tenant's apps, of `only` these if given.
    pub async fn list_apps(
        &self,
        tenant_key: TenantKey,
        only: Option<&[String]>,
        page: &PageRequest<String>,
    ) -> Result<Listed<App>> {
        let (at, id, rows) = page.parts();
        let rows = self.rows(LIST, &[&tenant_key.0, &only, &at, &id, &rows]).await?;
        page.cut(&rows, read_app, |a| Cursor { at: a.created_at, id: a.app.clone() })
    }

    /// Deletes an app with its credentials; false when there is none. What was not sent of its notifications is cancelled with it. Its
    /// devices are deleted before, in pages, by [`Store::erase_devices`].
    pub async fn delete_app(&self, tenant_key: TenantKey, app: &str) -> Result<bool> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        let found = "SELECT app_key FROM apps WHERE tenant_key = $1 AND app = $2";
        let found = transaction.query_opt(found, &[&tenant_key.0, &app]).await?;
        let Some(app_key) = found.map(|row| AppKey(row.get(0))) else { return Ok(false) };
        cancel_of_app(&transaction, tenant_key, Some(app_key)).await?;
        let deleted = transaction.execute("DELETE FROM apps WHERE app_key = $1", &[&app_key.0]).await?;
        commit(transaction, Point::SetupCommit).await?;
        Ok(deleted > 0)
    }
}

fn read_app(row: &Row) -> Result<App> {
    Ok(App {
        app_key: AppKey(row.try_get(0)?),
        app: row.try_get(1)?,
        settings: AppSettings {
            name: row.try_get(2)?,
            icon_url: row.try_get(3)?,
            push_enabled: row.try_get(4)?,
            identity_required: row.try_get(5)?,
            allowed_origins: row.try_get(6)?,
            default_locale: row.try_get(7)?,
        },
        public_key: row.try_get(8)?,
        created_at: row.try_get(9)?,
    })
}
