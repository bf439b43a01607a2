//! A PostgreSQL of a test's own, from the binaries of this machine: in a temporary folder, on a socket
//! there and no port, ended with the test however that ends. Never a database that was there before.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use scratch_postgres::{Cluster, Psql};
pub use scratch_postgres::{DATABASE, Stop};
use tempfile::TempDir;

/// A role that shows a certificate where others say a password.
pub const HOLDER: &str = "holder";

/// Files of a server with TLS.
#[derive(Debug)]
pub struct Certificates {
    /// Of the authority that signed.
    pub root: PathBuf,
    /// What [`HOLDER`] shows, and the key to it.
    pub holder: (PathBuf, PathBuf),
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    /// Goes after the server.
    folder: TempDir,
}

impl Postgres {
    /// With logical replication.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With other settings, too: `name=value`.
    pub fn with(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("relevo-pg-").tempdir().expect("a temporary folder");
        let cluster = Cluster::create(folder.path(), settings).unwrap_or_else(|error| panic!("{error}"));
        Self { cluster, folder }
    }

    /// Starts the server, and waits until it answers.
    pub fn up(&mut self) {
        self.cluster.up().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Stops the server, and waits for its end.
    pub fn down(&mut self, how: Stop) {
        self.cluster.down(how).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it anew with TLS, a certificate for 127.0.0.1 (made by `openssl`), and passwords over TCP; the role
    /// [`HOLDER`] comes with a certificate instead. Returns the port and the files.
    pub fn serve_tls(&mut self) -> (u16, Certificates) {
        self.down(Stop::Immediate);
        // Free now, and nobody else's in the next moment.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let (root, certificate, key) = (self.file("ca.pem"), self.file("cert.pem"), self.file("key.pem"));
        std::fs::write(self.file("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost").expect("a file can be written");
        self.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=CA -keyout ca.key -out ca.pem");
        self.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout key.pem -out request.pem");
        self.openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        );
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={HOLDER} -keyout holder.key -out request.pem"
        ));
        self.openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out holder.pem",
        );
        self.cluster.give_away(&key).expect("root may give a file away");
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, own).expect("the key is ours");
        let rules = format!(
            "local all all trust\nhostssl all {HOLDER} 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        );
        std::fs::write(self.cluster.data().join("pg_hba.conf"), rules).expect("the rules can be written");
        let more = [
            "listen_addresses=127.0.0.1".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
            format!("ssl_ca_file={}", root.display()),
        ];
        self.cluster.set(more, port);
        self.up();
        (port, Certificates { root, holder: (self.file("holder.pem"), self.file("holder.key")) })
    }

    fn openssl(&self, arguments: &str) {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .output()
            .expect("these tests need openssl: apt-get install openssl");
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops the server, and puts a copy of all that it has aside.
    pub fn back_up(&mut self) {
        self.down(Stop::Fast);
        self.copy("data", "backup");
        self.up();
    }

    /// Puts the copy in the place of what is there.
    pub fn restore(&mut self) {
        self.down(Stop::Immediate);
        std::fs::remove_dir_all(self.cluster.data()).expect("the folder is ours");
        self.copy("backup", "data");
        self.up();
    }

    fn copy(&self, from: &str, to: &str) {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).current_dir(self.folder.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "{from} can't be copied");
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    /// How to reach it by `psql`.
    pub fn psql(&self) -> Psql {
        self.cluster.psql()
    }

    /// The socket, where it listens from the start.
    pub fn socket(&self) -> PathBuf {
        self.cluster.socket()
    }

    /// Runs SQL in a `psql` process of its own, and gives what it printed.
    ///
    /// # Panics
    /// If the SQL fails.
    pub fn sql(&self, sql: &str) -> String {
        let output = self.psql().on(DATABASE).arg("-c").arg(sql).output().expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs SQL from a file, meanwhile.
    pub fn meanwhile(&self, sql: &str) -> Child {
        let file = tempfile::NamedTempFile::new_in(self.folder.path()).expect("a file").into_temp_path();
        let file = file.keep().expect("it goes with the folder");
        std::fs::write(&file, sql).expect("a script can be written");
        let mut psql = self.psql().on(DATABASE);
        psql.args(["-c", "set synchronous_commit = on", "-f"]).arg(file).stdout(Stdio::piped());
        psql.spawn().expect("psql runs")
    }

    pub fn log_text(&self) -> String {
        self.cluster.log_text()
    }
}
