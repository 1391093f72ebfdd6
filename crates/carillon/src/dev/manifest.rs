//! `.run/dev.json`: what a caller of this installation needs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::onboard::Tenant;
use crate::sim::Urls;

/// The contents.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Manifest {
    /// Base URL of the public API.
    pub(crate) http: String,
    /// Base URL of the public gRPC.
    pub(crate) grpc: String,
    /// Admin port of each service's first replica.
    pub(crate) admin: BTreeMap<String, String>,
    /// Admin ports of all replicas, in the order of `pids`.
    pub(crate) admin_replicas: BTreeMap<String, Vec<String>>,
    pub(crate) amqp_url: String,
    pub(crate) database_url: String,
    pub(crate) operator_key: String,
    pub(crate) tenant: String,
    pub(crate) app: String,
    pub(crate) server_key: String,
    pub(crate) public_key: String,
    pub(crate) pids: BTreeMap<String, Vec<u32>>,
    pub(crate) sim: SimUrls,
}

/// Where the simulators listen, by provider. Providers that no simulator speaks yet are absent.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SimUrls {
    apns: String,
    apns_sandbox: String,
    fcm: String,
    fcm_token: String,
    webpush: String,
    smsapi: String,
    ledger: String,
    control: String,
}

impl From<&Urls> for SimUrls {
    fn from(urls: &Urls) -> Self {
        Self {
            apns: urls.apns.clone(),
            apns_sandbox: urls.apns_sandbox.clone(),
            fcm: urls.fcm.clone(),
            fcm_token: urls.fcm_token.clone(),
            webpush: urls.webpush.clone(),
            smsapi: urls.sms.clone(),
            ledger: urls.ledger.clone(),
            control: urls.control.clone(),
        }
    }
}

impl Manifest {
    /// Fills in who may call.
    pub(crate) fn with_tenant(mut self, tenant: &Tenant) -> Self {
        self.tenant.clone_from(&tenant.id);
        self.app.clone_from(&tenant.app);
        self.server_key.clone_from(&tenant.server_key);
        self.public_key.clone_from(&tenant.public_key);
        self
    }

    /// Writes it: for its owner only, and whole or not at all.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<Published> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let _ = std::fs::remove_file(&beside);
        let context = || format!("{} cannot be written", path.display());
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).with_context(context)?;
        let text = serde_json::to_string_pretty(self)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).with_context(context)?;
        std::fs::rename(&beside, path).with_context(context)?;
        Ok(Published(path.to_path_buf()))
    }
}

/// The file as long as it is true: dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Published(PathBuf);

impl Drop for Published {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn manifest() -> Manifest {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let urls = Urls {
            control: url(1),
            ledger: url(1),
            apns: url(2),
            apns_sandbox: url(3),
            fcm: url(4),
            fcm_token: url(5),
            webpush: url(6),
            sms: url(7),
        };
        let service = "segmenter".to_owned();
        Manifest {
            http: url(8),
            grpc: url(9),
            admin: [(service.clone(), url(10))].into(),
            admin_replicas: [(service.clone(), vec![url(10), url(11)])].into(),
            amqp_url: "amqp://x".into(),
            database_url: "postgres://x".into(),
            operator_key: "cak_x".into(),
            tenant: String::new(),
            app: String::new(),
            server_key: String::new(),
            public_key: String::new(),
            pids: [(service, vec![1, 2])].into(),
            sim: SimUrls::from(&urls),
        }
    }

    fn tenant() -> Tenant {
        Tenant {
            id: "acme".into(),
            app: "shop".into(),
            server_key: "csk_x".into(),
            public_key: "cpk_x".into(),
            vapid_key: None,
        }
    }

    #[test]
    fn it_has_what_the_contract_names() {
        let value = serde_json::to_value(manifest().with_tenant(&tenant())).unwrap();
        let names = [
            "http",
            "grpc",
            "admin",
            "amqp_url",
            "database_url",
            "operator_key",
            "tenant",
            "app",
            "server_key",
            "public_key",
            "pids",
            "sim",
        ];
        assert!(names.iter().all(|name| !value[name].is_null()), "{value}");
        assert_eq!((&value["tenant"], &value["server_key"]), (&"acme".into(), &"csk_x".into()));
        for name in ["apns", "fcm", "fcm_token", "webpush", "smsapi", "ledger"] {
            assert!(value["sim"][name].is_string(), "{name}");
        }
    }

    #[test]
    fn it_is_for_its_owner_only_and_gone_when_it_is_not_true_any_more() {
        let directory = std::env::temp_dir().join(format!("carillon-manifest-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("dev.json");
        let published = manifest().write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "nothing half-written is left");
        drop(published);
        assert!(!path.exists());
        std::fs::remove_dir(&directory).unwrap();
    }
}
