//! Asks a running server over HTTP, as an operator: the commands that change what runs do.

use anyhow::{Context as _, bail};
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{Method, Request, StatusCode, header};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::access::{self, Credential, address};
use super::given::GivenToken;
use super::{Settings, runtime};
use crate::config::Config;

/// Which server, and who asks.
#[derive(Args)]
pub(super) struct Operator {
    #[command(flatten)]
    settings: Settings,
    /// Where the server is, http://HOST:PORT; default: where the settings say that it listens.
    #[arg(long)]
    url: Option<String>,
    /// Where none is given, one is made for the first role of `auth.operators`.
    #[command(flatten)]
    token: GivenToken,
}

/// What is sent beside the path.
pub(super) enum Content {
    Nothing,
    /// `multipart/form-data`.
    Files(Files),
}

/// Name and content of each file.
pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

/// A name as one part of a path, or as a value in a query.
pub(super) fn escaped(name: &str) -> String {
    // It writes a space as a plus, which only a query takes for one.
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

impl Operator {
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        Ok(self.settings.load()?)
    }

    /// Whether another server is meant than that of the settings.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.url.is_some()
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// No server, no token, or what the server refuses, with its reason.
    pub(super) fn ask(&self, method: Method, path: &str, content: Content) -> anyhow::Result<Value> {
        let (base, request, body) = self.request(method, path, content)?;
        let (status, answer) = runtime()?.block_on(access::ask(&base, request, body))?;
        accepted(status, &answer)?;
        Ok(answer)
    }

    /// Sends a request and hands over each line of its answer as it comes.
    ///
    /// # Errors
    /// As [`Self::ask`]; also if the answer ends with an error, or `each` fails.
    pub(super) fn follow(
        &self,
        method: Method,
        path: &str,
        content: Content,
        mut each: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (base, request, body) = self.request(method, path, content)?;
        runtime()?.block_on(async {
            let response = access::send(&base, request, body).await?;
            let status = response.status();
            let mut body = response.into_body().into_data_stream();
            let mut waiting = Vec::new();
            while let Some(part) = body.next().await {
                waiting.extend_from_slice(&part.context("the server broke off")?);
                while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = waiting.drain(..=end).collect();
                    let line: Value = serde_json::from_slice(&line).context("the server's answer can't be read")?;
                    if let Some(why) = line["error"]["message"].as_str() {
                        bail!("the server ended it: {why}");
                    }
                    each(line)?;
                }
            }
            accepted(status, &serde_json::from_slice(&waiting).unwrap_or_default())
        })
    }

    /// The server's address, and the request with a token.
    fn request(&self, method: Method, path: &str, content: Content) -> anyhow::Result<(String, Builder, Body)> {
        let config = self.config()?;
        let token = self.token.read()?;
        let role = match (&token, config.auth.operators.first()) {
            (None, None) => bail!("nobody may: set auth.operators to the roles that may operate the server"),
            (_, role) => role.cloned().unwrap_or_default(),
        };
        let credential = Credential::new(token, &config, "operator", role)?;
        let base = self.url.clone().unwrap_or_else(|| format!("http://{}", address(&config)));
        let bearer = format!("Bearer {}", credential.token()?);
        let mut request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer);
        let body = match content {
            Content::Nothing => Body::empty(),
            Content::Files(files) => {
                // Random, so that no file can hold it.
                let boundary = uuid::Uuid::new_v4().simple().to_string();
                request = request.header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"));
                Body::from(form(&boundary, &files))
            }
        };
        Ok((base, request, body))
    }
}

/// Whether the server did what it was asked for.
fn accepted(status: StatusCode, answer: &Value) -> anyhow::Result<()> {
    if !status.is_success() {
        let why = answer["error"]["message"].as_str().unwrap_or("it gives no reason");
        bail!("the server refuses ({status}): {why}");
    }
    Ok(())
}

fn form(boundary: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_part_of_a_path_and_one_value_of_a_query() {
        let name = "año 1+1/../x?a=b&c#d%";
        let uri: axum::http::Uri = format!("/api/v1/plugins/{0}/logs?of={0}", escaped(name)).parse().unwrap();
        assert_eq!(uri.path().split('/').count(), 6, "{uri}");
        let query: Vec<_> = url::form_urlencoded::parse(uri.query().unwrap().as_bytes()).collect();
        assert_eq!(query, [("of".into(), name.into())]);
        assert_eq!(escaped("tareas-2_b"), "tareas-2_b");
    }
}
