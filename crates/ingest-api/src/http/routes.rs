//! Who may call what: the one table. What is not in it cannot be called.

use http::Method;

use crate::auth::{Caller, Grant};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    public: bool,
    operator: bool,
    server: Option<Grant>,
    app: bool,
    device: bool,
}

const NOBODY: Access = Access { public: false, operator: false, server: None, app: false, device: false };
/// Anybody, without a key.
const PUBLIC: Access = Access { public: true, ..NOBODY };
/// `cak_`.
const OPERATOR: Access = Access { operator: true, ..NOBODY };
/// `cpk_`.
const APP: Access = Access { app: true, ..NOBODY };

/// `csk_` with this grant, or the installation itself.
const fn server_or_device(grant: Grant) -> Access {
    Access { device: true, ..server(grant) }
}

/// `csk_` with this grant.
const fn server(grant: Grant) -> Access {
    Access { server: Some(grant), ..NOBODY }
}

impl Access {
    pub(super) fn is_public(self) -> bool {
        self.public
    }

    /// Whether copies of an app may call, and so browsers.
    pub(super) fn is_for_apps(self) -> bool {
        self.app || self.device
    }

    pub(super) fn admits(self, caller: &Caller) -> bool {
        match caller {
            Caller::Operator => self.operator,
            Caller::Server { .. } => self.server.is_some_and(|grant| caller.holds(grant)),
            Caller::App { .. } => self.app,
            Caller::Device { .. } => self.device,
        }
    }

    /// In words, for a 403 and for the OpenAPI document.
    pub(super) fn needs(self) -> String {
        let server = self.server.map(|grant| format!("a server key (csk_) with the scope `{}`", grant.as_str()));
        let keys = [
            self.operator.then(|| "an operator's key (cak_)".to_owned()),
            server,
            self.app.then(|| "the app's public key (cpk_)".to_owned()),
            self.device.then(|| "the installation's own key (cds_)".to_owned()),
        ];
        keys.into_iter().flatten().collect::<Vec<_>>().join(", or ")
    }
}

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
}

const fn route(method: Method, path: &'static str, access: Access) -> Route {
    Route { method, path, access }
}

/// Every route, by path. The path is written as the handler's `#[utoipa::path]` writes it.
pub(super) const ROUTES: &[Route] = &[
    route(Method::GET, "/v1/tenants", OPERATOR),
    route(Method::PUT, "/v1/tenants/{tenant}", OPERATOR),
    route(Method::GET, "/v1/tenants/{tenant}", OPERATOR),
    route(Method::PATCH, "/v1/tenants/{tenant}", OPERATOR),
    route(Method::DELETE, "/v1/tenants/{tenant}", OPERATOR),
    route(Method::POST, "/v1/tenants/{tenant}/keys", OPERATOR),
    route(Method::GET, "/v1/tenants/{tenant}/keys", OPERATOR),
    route(Method::DELETE, "/v1/tenants/{tenant}/keys/{key}", OPERATOR),
    route(Method::POST, "/v1/tenants/{tenant}/keys/{key}/rotate", OPERATOR),
    route(Method::PUT, "/v1/tenants/{tenant}/amqp-users/{user}", OPERATOR),
    route(Method::DELETE, "/v1/tenants/{tenant}/amqp-users/{user}", OPERATOR),
    route(Method::GET, "/v1/account", server(Grant::Read)),
    route(Method::PATCH, "/v1/account", server(Grant::Admin)),
    route(Method::GET, "/v1/apps", server(Grant::Read)),
    route(Method::PUT, "/v1/apps/{app}", server(Grant::Admin)),
    route(Method::GET, "/v1/apps/{app}", server(Grant::Read)),
    route(Method::DELETE, "/v1/apps/{app}", server(Grant::Admin)),
    route(Method::GET, "/v1/apps/{app}/client", APP),
    route(Method::PUT, "/v1/apps/{app}/credentials/{platform}", server(Grant::Admin)),
    route(Method::GET, "/v1/apps/{app}/credentials/{platform}", server(Grant::Read)),
    route(Method::DELETE, "/v1/apps/{app}/credentials/{platform}", server(Grant::Admin)),
    route(Method::GET, "/v1/apps/{app}/devices", server(Grant::Read)),
    route(Method::PUT, "/v1/apps/{app}/devices/{device}", Access { app: true, ..server_or_device(Grant::Devices) }),
    route(Method::GET, "/v1/apps/{app}/devices/{device}", server_or_device(Grant::Read)),
    route(Method::PATCH, "/v1/apps/{app}/devices/{device}", server_or_device(Grant::Devices)),
    route(Method::DELETE, "/v1/apps/{app}/devices/{device}", server(Grant::Devices)),
    route(Method::POST, "/v1/apps/{app}/devices/{device}/unlink", server_or_device(Grant::Devices)),
    route(Method::POST, "/v1/notifications", server(Grant::Send)),
    route(Method::GET, "/v1/notifications", server(Grant::Read)),
    route(Method::POST, "/v1/notifications:batch", server(Grant::Send)),
    route(Method::GET, "/v1/notifications/{id}", server(Grant::Read)),
    route(Method::POST, "/v1/notifications/{id}/cancel", server(Grant::Send)),
    route(Method::POST, "/v1/notifications/{id}/pause", server(Grant::Send)),
    route(Method::POST, "/v1/notifications/{id}/resume", server(Grant::Send)),
    route(Method::GET, "/v1/notifications/{id}/deliveries", server(Grant::Read)),
    route(Method::POST, "/v1/receipts", server_or_device(Grant::Devices)),
    route(Method::GET, "/v1/sms/gateways", server(Grant::Read)),
    route(Method::PUT, "/v1/sms/gateways/{gateway}", server(Grant::Admin)),
    route(Method::GET, "/v1/sms/gateways/{gateway}", server(Grant::Read)),
    route(Method::DELETE, "/v1/sms/gateways/{gateway}", server(Grant::Admin)),
    route(Method::GET, "/v1/sms/senders", server(Grant::Read)),
    route(Method::PUT, "/v1/sms/senders/{sender}", server(Grant::Admin)),
    route(Method::GET, "/v1/sms/senders/{sender}", server(Grant::Read)),
    route(Method::DELETE, "/v1/sms/senders/{sender}", server(Grant::Admin)),
    // The path holds a secret of its own.
    route(Method::GET, "/v1/callbacks/sms/{secret}", PUBLIC),
    route(Method::POST, "/v1/callbacks/sms/{secret}", PUBLIC),
    route(Method::GET, "/openapi.json", PUBLIC),
];

/// What the table says about a path: the methods it has.
pub(super) fn of_path(path: &str) -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(move |route| route.path == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_and_the_handlers_name_the_same_routes() {
        let document =
            serde_json::to_value(super::super::resources(&super::super::openapi::Document::new(None)).into_openapi())
                .unwrap();
        let mut handlers = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                if let Ok(method) = method.to_uppercase().parse::<Method>() {
                    handlers.insert((path.clone(), method.to_string()));
                }
            }
        }
        let table: BTreeSet<_> = ROUTES.iter().map(|r| (r.path.to_owned(), r.method.to_string())).collect();
        assert_eq!(table.len(), ROUTES.len(), "a route stands twice");
        assert_eq!(handlers, table);
    }

    #[test]
    fn only_a_handful_of_routes_are_public() {
        let public: Vec<_> = ROUTES.iter().filter(|r| r.access.is_public()).map(|r| r.path).collect();
        assert_eq!(public, ["/v1/callbacks/sms/{secret}", "/v1/callbacks/sms/{secret}", "/openapi.json"]);
    }

    #[test]
    fn every_other_route_says_which_key_it_needs() {
        for route in ROUTES.iter().filter(|r| !r.access.is_public()) {
            assert!(!route.access.needs().is_empty(), "{} {}", route.method, route.path);
        }
    }
}
