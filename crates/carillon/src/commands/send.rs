//! `carillon send`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::api::Api;
use crate::cli::Send;
use crate::http::Http;

/// How long `--wait` waits.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends, prints the id, and on demand waits for the end.
pub(crate) async fn run(options: Send) -> Outcome {
    let given = Place::of(&options)?;
    let api = Api::new(Http::new(&given.http).with_key(&given.key));
    let accepted = api.send_as(&body(&options, &given.app), options.idempotency_key.as_deref()).await?;
    println!("{accepted}");
    if options.wait {
        let notification = api.finished(&accepted.id, PATIENCE).await?;
        println!("{}", notification["counts"]);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where to, by which key, for which app.
struct Place {
    http: String,
    key: String,
    app: String,
}

impl Place {
    fn of(options: &Send) -> Result<Self> {
        let manifest = if options.http.is_some() && options.key.is_some() && options.app.is_some() {
            Value::Null
        } else {
            read(&options.manifest)?
        };
        let or = |given: &Option<String>, name: &str| {
            given
                .clone()
                .or_else(|| manifest[name].as_str().map(str::to_owned))
                .ok_or_else(|| anyhow!("{} says no {name}: give it on the command line", options.manifest.display()))
        };
        Ok(Self {
            http: or(&options.http, "http")?,
            key: or(&options.key, "server_key")?,
            app: or(&options.app, "app")?,
        })
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: is `make run` up? else give --http, --key and --app", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn body(options: &Send, app: &str) -> Value {
    let mut to = Map::new();
    for (name, ids) in [("users", &options.user), ("devices", &options.device), ("phones", &options.phone)] {
        if !ids.is_empty() {
            to.insert(name.to_owned(), json!(ids));
        }
    }
    if options.all {
        to.insert("all".to_owned(), json!(true));
    }
    if let Some(condition) = &options.condition {
        to.insert("where".to_owned(), json!(condition));
    }
    let mut content = json!({"title": options.title});
    if let Some(text) = &options.body {
        content["body"] = json!(text);
    }
    if let Some(url) = &options.open {
        content["open"] = json!({"url": url});
    }
    json!({"app": app, "to": to, "content": content})
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(words: &[&str]) -> Send {
        let all = ["carillon", "send"].iter().chain(words);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Send(send) => *send,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_body_holds_what_was_given_and_nothing_else() {
        let send = parse(&["--user", "u-1", "--user", "u-2", "--title", "Hi", "--open", "https://a.example/"]);
        let expected = json!({"app": "shop", "to": {"users": ["u-1", "u-2"]},
                              "content": {"title": "Hi", "open": {"url": "https://a.example/"}}});
        assert_eq!(body(&send, "shop"), expected);
    }

    #[test]
    fn a_condition_alone_is_an_audience() {
        let send = parse(&["--where", "tags has 'vip'", "--title", "Hi"]);
        assert_eq!(body(&send, "shop")["to"], json!({"where": "tags has 'vip'"}));
    }

    #[test]
    fn nobody_is_not_an_audience() {
        assert!(Cli::try_parse_from(["carillon", "send", "--title", "Hi"]).is_err());
    }

    #[test]
    fn what_the_manifest_does_not_say_has_to_be_given() {
        let mut send = parse(&["--all", "--title", "Hi", "--manifest", "/nowhere/dev.json"]);
        assert!(Place::of(&send).is_err());
        (send.http, send.key, send.app) = (Some("http://h".into()), Some("csk_x".into()), Some("a".into()));
        assert_eq!(Place::of(&send).unwrap().app, "a");
    }
}
