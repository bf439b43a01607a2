//! Where there is no connection: each refusal of a real server comes with what is to be done about it.

use super::*;
use crate::capture::CaptureError;
use crate::capture::postgres::{Stand, preflight};

/// What is said to do where this address leads nowhere, and the whole error.
async fn remedy(host: &mut Host, url: String) -> (String, String) {
    host.settings[0].url = url;
    let error = preflight(&host.settings[0], Stand::Runs).await.unwrap_err();
    let whole = error.to_string();
    let CaptureError::Connect { remedy, .. } = error else { panic!("{error:?}") };
    (remedy, whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_not_to_come_in_has_its_own_remedy() {
    let mut host = Host::over(Postgres::start(), "").await;
    if host.sql("select setting from pg_settings where name = 'ssl_library'").is_empty() {
        println!("refusals over TLS: NOT TESTED, as this PostgreSQL was built without it");
        return;
    }
    host.sql("create role ana login replication password 'secret of ana'");
    let (port, certificates) = host.database.serve_tls();
    let ca = certificates.root.display().to_string();
    let over_tcp = |who: &str, more: &str| format!("postgres://{who}@127.0.0.1:{port}{more}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = host.folder.path().join("elsewhere").display().to_string().replace('/', "%2F");
    for (url, with) in [
        (over_tcp("ana", "/gad"), "no password was given"),
        (over_tcp("ana:wrong", "/gad"), "mend role and password"),
        (over_tcp("ana:secret%20of%20ana", "/shop"), "CREATE DATABASE \"shop\";"),
        (over_tcp("ana:secret%20of%20ana", ""), "names none, so it was that of the role's name"),
        (over_tcp("ana:secret%20of%20ana", "/gad?sslmode=disable"), "a line in pg_hba.conf"),
        (over_tcp("ana:secret%20of%20ana", "/gad?sslmode=verify-full"), "sslrootcert=FILE"),
        (
            over_tcp("ana:secret%20of%20ana", "/gad?sslmode=verify-ca&sslrootcert=/nowhere"),
            "mend the certificate files",
        ),
        (format!("postgres://ana:x@{nobody}/gad"), "start PostgreSQL, or mend host and port"),
        (format!("postgres://ana@{socket}/gad"), "mend the socket's folder"),
        ("postgres://ana:x@nowhere.invalid/gad".into(), "mend the host in the url"),
    ] {
        let (remedy, whole) = remedy(&mut host, url.clone()).await;
        assert!(remedy.contains(with), "{url}: {whole}");
        assert!(whole.ends_with(&remedy) && !whole.contains("secret of"), "{whole}");
    }
    host.sql("revoke connect on database gad from public; alter role ana nologin");
    let known = over_tcp("ana:secret%20of%20ana", "/gad");
    assert!(remedy(&mut host, known.clone()).await.0.contains("ALTER ROLE \"ana\" LOGIN;"));
    host.sql("alter role ana login");
    let (granted, _) = remedy(&mut host, known.clone()).await;
    let grant = &granted[granted.find("GRANT CONNECT").unwrap()..granted.find("; if it is a setting").unwrap()];
    host.sql("alter role ana connection limit 0");
    host.sql(grant);
    assert!(remedy(&mut host, known).await.0.contains("the CONNECTION LIMIT of the role"));
    host.sql("alter role ana connection limit -1");
    let stranger = host.database.url(DATABASE).replace("//relevo@", "//nobody@");
    assert!(remedy(&mut host, stranger).await.0.contains("CREATE ROLE \"nobody\" LOGIN REPLICATION;"));
    host.settings[0].url = over_tcp("ana:secret%20of%20ana", &format!("/gad?sslmode=verify-full&sslrootcert={ca}"));
    preflight(&host.settings[0], Stand::Runs).await.unwrap();
}
