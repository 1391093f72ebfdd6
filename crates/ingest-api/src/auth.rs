//! Who calls, and what they may do; the same for HTTP, gRPC and AMQP.

mod keyring;

use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::{AppKey, DeviceKey, TenantKey};

pub(crate) use keyring::Keyring;

use crate::refusal::Refusal;

/// What a tenant's key may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Notifications: make, change, cancel.
    Send,
    /// Devices, users, groups and receipts: write.
    Devices,
    /// Everything: read.
    Read,
    /// Apps, credentials, settings: write.
    Admin,
}

impl Grant {
    pub(crate) const ALL: [Self; 4] = [Self::Send, Self::Devices, Self::Read, Self::Admin];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Devices => "devices",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// A tenant by its number and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantRef {
    pub(crate) key: TenantKey,
    pub(crate) id: String,
}

/// An app by its number and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppRef {
    pub(crate) key: AppKey,
    pub(crate) id: String,
}

/// An installation by its number and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRef {
    pub(crate) key: DeviceKey,
    pub(crate) id: String,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// `cak_`: runs the platform.
    Operator,
    /// `csk_`, or a user of the broker: a tenant's backend.
    Server {
        /// Whose.
        tenant: TenantRef,
        /// What it may do.
        grants: Vec<Grant>,
        /// The only apps it may touch; all without.
        apps: Option<Vec<String>>,
    },
    /// `cpk_`: a copy of an app, not known by name.
    App {
        /// Whose.
        tenant: TenantRef,
        /// Of which app.
        app: AppRef,
    },
    /// `cds_`: one installation.
    Device {
        /// Whose.
        tenant: TenantRef,
        /// Of which app.
        app: AppRef,
        /// Which.
        device: DeviceRef,
    },
}

impl Caller {
    /// The tenant on whose things the caller works; an operator has none.
    pub(crate) fn tenant(&self) -> Option<&TenantRef> {
        match self {
            Self::Operator => None,
            Self::Server { tenant, .. } | Self::App { tenant, .. } | Self::Device { tenant, .. } => Some(tenant),
        }
    }

    /// Whether the caller is software on a person's device: in their hands, and perhaps newer than this server.
    pub(crate) fn is_on_a_device(&self) -> bool {
        matches!(self, Self::App { .. } | Self::Device { .. })
    }

    /// Whether the caller holds a grant.
    pub(crate) fn holds(&self, grant: Grant) -> bool {
        matches!(self, Self::Server { grants, .. } if grants.contains(&grant))
    }

    /// Refuses an app that the caller's key is not for. Whether the app exists makes no difference.
    pub(crate) fn check_app(&self, app: &str) -> Result<(), Refusal> {
        let allowed = match self {
            Self::Operator | Self::Server { apps: None, .. } => true,
            Self::Server { apps: Some(apps), .. } => apps.iter().any(|a| a == app),
            Self::App { app: own, .. } | Self::Device { app: own, .. } => own.id == app,
        };
        if allowed { Ok(()) } else { Err(Refusal::new(ErrorCode::Forbidden, "This key is not for that app.")) }
    }

    /// Refuses an installation other than the caller itself. Whether it exists makes no difference.
    pub(crate) fn check_device(&self, device: &str) -> Result<(), Refusal> {
        match self {
            Self::Device { device: own, .. } if own.id != device => {
                Err(Refusal::new(ErrorCode::Forbidden, "This key is not for that device."))
            }
            _ => Ok(()),
        }
    }

    /// For logs and traces: the kind, nothing of the key.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Server { .. } => "server",
            Self::App { .. } => "app",
            Self::Device { .. } => "device",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantRef {
        TenantRef { key: TenantKey(1), id: "acme".into() }
    }

    fn app() -> AppRef {
        AppRef { key: AppKey(1), id: "shop".into() }
    }

    #[test]
    fn a_key_is_for_its_apps_and_a_device_for_itself() {
        let all = Caller::Server { tenant: tenant(), grants: vec![Grant::Read], apps: None };
        let some = Caller::Server { tenant: tenant(), grants: vec![], apps: Some(vec!["shop".into()]) };
        let device = DeviceRef { key: DeviceKey(1), id: "d1".into() };
        let device = Caller::Device { tenant: tenant(), app: app(), device };
        assert!(all.check_app("news").is_ok() && all.check_device("d2").is_ok());
        assert!(some.check_app("shop").is_ok() && some.check_app("news").is_err());
        assert!(device.check_app("shop").is_ok() && device.check_app("news").is_err());
        assert!(device.check_device("d1").is_ok() && device.check_device("d2").is_err());
    }

    #[test]
    fn only_a_server_key_holds_grants() {
        let server = Caller::Server { tenant: tenant(), grants: vec![Grant::Send], apps: None };
        assert!(server.holds(Grant::Send) && !server.holds(Grant::Admin));
        assert!(
            !Caller::Operator.holds(Grant::Send) && !Caller::App { tenant: tenant(), app: app() }.holds(Grant::Read)
        );
    }

    #[test]
    fn grants_are_read_back_from_their_text() {
        for grant in Grant::ALL {
            assert_eq!(Grant::from_text(grant.as_str()), Some(grant));
        }
        assert_eq!(Grant::from_text("root"), None);
    }
}
