//! A real browser: headless Chromium, driven through its WebDriver server, both with a port and a
//! profile of their own, and gone when the test ends, however it ends.

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use thirtyfour::prelude::WebDriverResult;
use thirtyfour::{By, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel};
use thirtyfour::{WebDriver, WebElement};
use tokio::runtime::Runtime;

use crate::server::Process;
use crate::wait::until;

/// How long the page may take to show something. A browser needs more than a socket on a busy machine.
const SHOWN: Duration = Duration::from_secs(60);

/// It looks up nothing, keeps nothing, and needs neither a screen nor a sandbox (which root can't have).
const ARGUMENTS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
];

/// How the visitor's browser is set up.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    pub language: &'static str,
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

impl Default for Visitor {
    fn default() -> Self {
        Self { language: "en", width: 1440, height: 1000, dark: false }
    }
}

/// A browser with one tab.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    driver: Option<WebDriver>,
    _server: Process,
    profile: TempDir,
}

impl Browser {
    /// # Panics
    /// If the browser or its driver is missing or doesn't start.
    pub fn start(visitor: Visitor) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env_remove("DISPLAY").env("LANGUAGE", visitor.language);
        let mut server = Process::start(command);
        let line = server.wait_for_line("started successfully on port ", SHOWN);
        let port = line.as_deref().and_then(|line| line.trim_end_matches('.').rsplit(' ').next());
        let port = port.unwrap_or_else(|| {
            panic!(
                "chromedriver didn't start (Debian: apt-get install chromium chromium-driver):\n{}",
                server.log.text()
            )
        });
        let profile = tempfile::Builder::new().prefix("relevo-browser-").tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut browser = Self { runtime, driver: None, _server: server, profile };
        let capabilities = browser.capabilities(visitor).expect("capabilities");
        let started = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities);
        browser.driver = Some(browser.runtime.block_on(started).expect("a browser"));
        browser
    }

    fn capabilities(&self, visitor: Visitor) -> WebDriverResult<thirtyfour::ChromeCapabilities> {
        let mut chrome = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            chrome.add_arg(argument)?;
        }
        chrome.add_arg(&format!("--user-data-dir={}", self.profile.path().display()))?;
        chrome.add_arg(&format!("--window-size={},{}", visitor.width, visitor.height))?;
        // Chromium's own language, and what it tells pages.
        chrome.add_arg(&format!("--lang={}", visitor.language))?;
        chrome.add_arg(&format!("--accept-lang={}", visitor.language))?;
        if visitor.dark {
            chrome.add_arg("--blink-settings=preferredColorScheme=0")?;
        }
        chrome.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        Ok(chrome)
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("the browser runs")
    }

    fn does<T>(&self, what: &str, work: impl Future<Output = WebDriverResult<T>>) -> T {
        self.runtime.block_on(work).unwrap_or_else(|e| panic!("the browser can't {what}: {e}"))
    }

    pub fn open(&self, url: &str) {
        self.does(&format!("open {url}"), self.driver().goto(url));
    }

    pub fn reload(&self) {
        self.does("reload", self.driver().refresh());
    }

    /// What the address bar shows.
    pub fn address(&self) -> String {
        self.does("tell its address", self.driver().current_url()).to_string()
    }

    /// Runs a script in the page and returns what it returned.
    pub fn run(&self, script: &str) -> Value {
        self.does(script, async { Ok(self.driver().execute(script, Vec::new()).await?.json().clone()) })
    }

    /// Waits until a script's result is there: neither null nor false nor empty.
    ///
    /// # Panics
    /// If it doesn't come; shows the page's text.
    pub fn wait(&self, what: &str, script: &str) -> Value {
        let there = |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && value != "";
        let deadline = std::time::Instant::now() + SHOWN;
        loop {
            let value = self.run(script);
            if there(&value) {
                return value;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the page never showed {what}; it says:\n{}\nits console:\n{}",
                self.run("return document.body.innerText").as_str().unwrap_or_default(),
                self.console().join("\n")
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until an element's text holds something, and returns it.
    pub fn wait_text(&self, selector: &str, part: &str) -> String {
        let found = format!(
            "const text = [...document.querySelectorAll({selector:?})].map((e) => e.textContent).join('\\n'); \
             return text.includes({part:?}) && text"
        );
        let value = self.wait(&format!("{part:?} in {selector}"), &found);
        value.as_str().unwrap_or_default().to_owned()
    }

    fn element(&self, selector: &str) -> WebElement {
        self.does(&format!("find {selector}"), self.driver().find(By::Css(selector)))
    }

    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.does(&format!("click {selector}"), element.click());
    }

    /// Types into a field, as keys.
    pub fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.does(&format!("write into {selector}"), element.send_keys(text));
    }

    /// What the page's console holds since the last call: errors of scripts, refusals of the policy.
    pub fn console(&self) -> Vec<String> {
        let entries = self.does("tell its console", self.driver().browser_log());
        entries.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    pub fn screenshot(&self, path: &Path) {
        self.does("take a picture", self.driver().screenshot(path));
    }

    /// The processes that work on this browser's profile.
    fn processes(&self) -> Vec<Pid> {
        let profile = self.profile.path().to_string_lossy().into_owned();
        let folders = std::fs::read_dir("/proc").expect("Linux's /proc").flatten();
        let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
        let ours = |id: &i32| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&profile)
        };
        ids.filter(ours).filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            let _ = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), driver.quit()).await });
        }
        // Whatever is left would outlive its driver.
        for process in self.processes() {
            let _ = kill_process(process, Signal::KILL);
        }
        if !std::thread::panicking() {
            until("the browser's end", Duration::from_secs(10), || self.processes().is_empty().then_some(()));
        }
    }
}
