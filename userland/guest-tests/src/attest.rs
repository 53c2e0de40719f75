// SPDX-License-Identifier: GPL-2.0

//! Attestation and keys in the TPM (`Documentation/attestation.rst`), with `tpm2-tools` as the second opinion.

use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    hex,
    nl,
    Res, //
};
use std::{
    fs,
    os::unix::{
        fs::PermissionsExt as _,
        process::CommandExt as _, //
    },
    path::Path,
    process::{
        Command,
        Stdio, //
    },
};

/// The tests, in order: the first ones need a node in setup.
pub(crate) const TESTS: &[Test] = &[
    Test::new("the_attestation_key_names_the_node", names_the_node),
    Test::new("a_node_in_setup_has_no_anchor_to_show", in_setup),
    Test::new("a_vote_of_a_tpm_key_is_accepted", votes),
    Test::new("a_tpm_key_is_used_only_beside_its_clock", keys),
    Test::new(
        "tpm2_tools_accept_the_quote_and_read_the_same_values",
        same_values,
    ),
    Test::new("a_quote_is_verified_without_privileges_or_tpm", verified),
    Test::new("a_quote_is_refused_for_another_nonce_node_or_pcr", refused),
    Test::new("a_commit_shows_in_the_next_quote", goes_on),
    Test::new("a_node_is_enrolled_by_its_makers_certificate", enrolled),
    Test::new("enrolment_refuses_what_proves_nothing", not_enrolled),
    Test::new("credentials_are_those_of_tpm2_tools", credentials),
    Test::new("no_tpm_and_no_right_to_it_are_explained", explained),
    Test::new("another_kernel_takes_a_rule_that_allows_it", kexec),
];

/// A nonce of a verifier.
const NONCE: &str = "00112233445566778899aabbccddeeff00112233";
/// Certificates of the maker of the guest's TPM.
const MAKER: &str = "/usr/share/tcp-lsm/swtpm-ca.pem";
/// Where the key that votes is kept over the tests of this group.
const KEYS: &str = "/run/attest-tests";
/// Name of the policy.
const POLICY: &str = "attest";
/// User without privileges.
const ALICE: u32 = 1000;

/// What a program did.
struct Done {
    ok: bool,
    out: Vec<u8>,
    text: String,
}

/// Runs a program with its arguments, divided by spaces, in a directory.
fn start(dir: &Path, uid: u32, line: &str) -> Res<Done> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let output = Command::new(program)
        .args(words)
        .current_dir(dir)
        .uid(uid)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Done {
        ok: output.status.success(),
        out: output.stdout,
        text,
    })
}

/// Runs a program that must succeed; what it prints on standard output.
fn run(dir: &Path, line: &str) -> Res<Vec<u8>> {
    let done = start(dir, 0, line)?;
    ensure!(done.ok, "{line}: {}", done.text);
    Ok(done.out)
}

/// On a sealed node nobody loads another kernel, when no rule is about that.
fn kexec(_: &mut Ctx) -> Res {
    sealed()?;
    // SAFETY: No segments are passed.
    let result = unsafe { libc::syscall(libc::SYS_kexec_load, 0, 0, 0, 0) };
    stage::expect_errno("kexec_load", crate::harness::errno(result), libc::EPERM)
}

/// Runs `tcpctl --json`, which must succeed.
fn tcpctl(dir: &Path, line: &str) -> Res<String> {
    let out = run(dir, &format!("tcpctl --json {line}"))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Runs `tcpctl --json`, which must be refused with a code.
fn tcpctl_refused(dir: &Path, line: &str, code: &str) -> Res {
    let done = start(dir, 0, &format!("tcpctl --json {line}"))?;
    ensure!(!done.ok, "{line}: accepted instead of {code}");
    ensure!(
        done.text.contains(&format!("\"error\":\"{code}\"")),
        "{line}: {} instead of {code}",
        done.text
    );
    Ok(())
}

/// A member of one of the objects that `tcpctl` prints: text without its quotes, or a number.
fn member(json: &str, name: &str) -> Res<String> {
    let start = format!("\"{name}\": ");
    json.lines()
        .find_map(|line| line.trim().strip_prefix(start.as_str()))
        .map(|value| value.trim_end_matches(',').trim_matches('"').to_owned())
        .ok_or_else(|| format!("no {name} in {json}"))
}

fn read(dir: &Path, name: &str) -> Res<Vec<u8>> {
    fs::read(dir.join(name)).map_err(|error| format!("{name}: {error}"))
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Res {
    fs::write(dir.join(name), bytes).map_err(|error| format!("{name}: {error}"))
}

/// Seals the node, with the key in the TPM as a validator: three of three validators are needed.
fn sealed() -> Res {
    if stage::status()?.phase == nl::SEALED {
        return Ok(());
    }
    stage::prepare(
        2,
        POLICY,
        "DEFAULT action=ALLOW\nop=POLICY,VALIDATOR,MODE,UNLOAD,RECOVER action=QUORUM threshold=75%\n",
    )?;
    fs::create_dir_all(KEYS).map_err(|error| error.to_string())?;
    let dir = Path::new(KEYS);
    let made = tcpctl(dir, "key generate --tpm --out carol")?;
    write(dir, "handle", member(&made, "handle")?.as_bytes())?;
    tcpctl(dir, "validator add --name carol --key carol.pub")?;
    stage::call(nl::SEAL, &crate::client::Attributes::new())
        .map_err(|refused| format!("seal: {refused:?}"))?;
    Ok(())
}

/// The handle of the key that votes.
fn handle() -> Res<String> {
    Ok(String::from_utf8_lossy(&read(Path::new(KEYS), "handle")?).into_owned())
}

fn names_the_node(ctx: &mut Ctx) -> Res {
    let node = hex(&stage::status()?.node);
    let made = tcpctl(&ctx.scratch, "attest key create --out ak.pem")?;
    ensure!(
        member(&made, "node")? == node,
        "the node is {node}, the key says {made}"
    );
    let shown = tcpctl(&ctx.scratch, "attest key show")?;
    ensure!(member(&shown, "node")? == node, "another time: {shown}");
    // Nothing was stored for it, and nothing left behind.
    let loaded = run(&ctx.scratch, "tpm2_getcap handles-transient")?;
    ensure!(loaded.is_empty(), "left loaded: {loaded:?}");
    tcpctl_refused(&ctx.scratch, "attest key create --out ak.pem", "exists")
}

fn in_setup(ctx: &mut Ctx) -> Res {
    stage::in_setup()?;
    let dir = &ctx.scratch;
    let node = hex(&stage::status()?.node);
    tcpctl(dir, &format!("attest quote --nonce {NONCE} --out q"))?;
    let verify = format!("attest verify q --nonce {NONCE} --node {node}");
    tcpctl_refused(dir, &verify, "quote_no_anchor")?;
    let told = tcpctl(dir, &format!("{verify} --setup"))?;
    ensure!(member(&told, "anchor")? == "null", "an anchor: {told}");
    let epoch = stage::status()?.epoch.to_string();
    ensure!(member(&told, "counter")? == epoch, "epoch {epoch}: {told}");
    Ok(())
}

fn votes(_: &mut Ctx) -> Res {
    sealed()?;
    let dir = Path::new(KEYS);
    let handle = handle()?;
    // Every second signature of a TPM has a high s, which the kernel refuses.
    for round in 0..6u8 {
        let request = stage::fresh_request()?;
        let verb = if round % 2 == 0 { "approve" } else { "deny" };
        let told = tcpctl(
            dir,
            &format!(
                "vote {verb} {} --as carol --tpm {handle} --key carol",
                hex(&request.id)
            ),
        )?;
        ensure!(member(&told, "outcome")? == "accepted", "{told}");
        let now = stage::request(&request.id)?;
        let wanted = if round % 2 == 0 { (1, 0) } else { (0, 1) };
        ensure!(
            (now.approve, now.deny) == wanted,
            "{verb}: {} approve, {} deny",
            now.approve,
            now.deny
        );
        stage::cancel(&request.id).ok();
    }
    let request = stage::fresh_request()?;
    let id = hex(&request.id);
    tcpctl(
        dir,
        &format!("vote approve {id} --as carol --tpm {handle} --key carol --out vote"),
    )?;
    run(dir, "tcpctl vote show vote --key carol.pub")?;
    tcpctl(dir, "vote submit vote")?;
    let now = stage::request(&request.id)?;
    ensure!(now.approve == 1, "submitted, and {} approve", now.approve);
    Ok(())
}

fn keys(ctx: &mut Ctx) -> Res {
    sealed()?;
    let dir = &ctx.scratch;
    let handle = handle()?;
    let request = stage::fresh_request()?;
    let id = hex(&request.id);
    // Not where the clock is; another key's name; nothing at the handle; a key that signs what a TPM says only.
    let vote = format!("vote approve {id} --as carol");
    tcpctl_refused(dir, &format!("{vote} --tpm {handle}"), "io")?;
    tcpctl(dir, "key generate --out other")?;
    tcpctl_refused(
        dir,
        &format!("{vote} --tpm {handle} --key other"),
        "tpm_key",
    )?;
    tcpctl_refused(dir, &format!("{vote} --tpm 817ffff0"), "tpm_handle")?;
    run(dir, "tpm2_createek -c 0x817ffff1 -G ecc -u ek.pub")?;
    tcpctl_refused(dir, &format!("{vote} --tpm 817ffff1"), "tpm_key")?;
    run(dir, "tpm2_evictcontrol -C o -c 0x817ffff1")?;
    // A key that is made is never put over another.
    let made = tcpctl(dir, "key generate --tpm --handle 817ffff0")?;
    ensure!(member(&made, "handle")? == "817ffff0", "{made}");
    tcpctl_refused(
        dir,
        "key generate --tpm --handle 817ffff0 --out again",
        "tpm_handle_used",
    )?;
    tcpctl_refused(dir, "key generate --tpm --handle 817ffff0", "exists")?;
    let shown = tcpctl(dir, "key show tpm-817ffff0.pub")?;
    ensure!(member(&shown, "id")? == member(&made, "id")?, "{shown}");
    // Not enrolled.
    tcpctl_refused(
        dir,
        &format!("vote approve {id} --as dora --tpm 817ffff0"),
        "vote_unknown_validator",
    )?;
    run(dir, "tpm2_evictcontrol -C o -c 0x817ffff0")?;
    let now = stage::request(&request.id)?;
    ensure!(now.approve == 0, "a vote was accepted");
    Ok(())
}

/// Makes a quote of a sealed node in `q`, with `tpm2-tools`' files in `t.*`.
fn quote(ctx: &Ctx, nonce: &str) -> Res<String> {
    sealed()?;
    tcpctl(
        &ctx.scratch,
        &format!("attest quote --nonce {nonce} --out q --tpm2 t"),
    )
}

fn same_values(ctx: &mut Ctx) -> Res {
    quote(ctx, NONCE)?;
    let dir = &ctx.scratch;
    let check = "tpm2_checkquote -u t.pem -m t.msg -s t.sig -f t.pcrs -g sha256 -q";
    run(dir, &format!("{check} {NONCE}"))?;
    let stale = start(dir, 0, &format!("{check} {}", NONCE.replace("00", "01")))?;
    ensure!(!stale.ok, "another nonce: {}", stale.text);

    let status = stage::status()?;
    let counter = run(dir, "tpm2_nvread -C o 0x01854350")?;
    let anchor = run(dir, "tpm2_nvread -C o 0x01854351")?;
    let told = tcpctl(dir, &format!("attest verify q --nonce {NONCE} --ak t.pem"))?;
    let counted = stage::status_number("state_counter")?;
    ensure!(
        counter == counted.to_be_bytes(),
        "the TPM counts {counter:?}, the node {counted}"
    );
    ensure!(
        member(&told, "counter")? == counted.to_string(),
        "the node counts {counted}, the quote says {told}"
    );
    let line = stage::status_line("anchor")?;
    ensure!(
        hex(&anchor) == line && member(&told, "anchor")? == line,
        "the node's anchor is {line}, the TPM's {}, the quote's {told}",
        hex(&anchor)
    );
    ensure!(
        member(&told, "node")? == hex(&status.node),
        "the quote is of another node: {told}"
    );
    Ok(())
}

fn verified(ctx: &mut Ctx) -> Res {
    quote(ctx, NONCE)?;
    let dir = &ctx.scratch;
    let node = hex(&stage::status()?.node);
    for file in ["q", "t.pem"] {
        stage::make_readable(&dir.join(file).to_string_lossy())?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    for key in ["--ak t.pem".to_owned(), format!("--node {node}")] {
        let line = format!("tcpctl attest verify q --nonce {NONCE} {key}");
        let done = start(dir, ALICE, &line)?;
        ensure!(
            done.ok && done.text.contains("verified"),
            "{line}: {}",
            done.text
        );
    }
    Ok(())
}

fn refused(ctx: &mut Ctx) -> Res {
    quote(ctx, NONCE)?;
    let dir = &ctx.scratch;
    let node = hex(&stage::status()?.node);
    tcpctl(dir, "key generate --out other")?;
    for (line, code) in [
        (
            format!("--nonce {}ff --ak t.pem", &NONCE[..38]),
            "quote_nonce",
        ),
        (
            format!("--nonce {NONCE} --node {}", "00".repeat(32)),
            "quote_other_key",
        ),
        (format!("--nonce {NONCE} --ak other.pub"), "quote_other_key"),
        (
            format!(
                "--nonce {NONCE} --node {node} --expect-pcr 7={}",
                "ab".repeat(32)
            ),
            "pcr_differs",
        ),
        (
            format!(
                "--nonce {NONCE} --node {node} --expect-pcr 23={}",
                "00".repeat(32)
            ),
            "pcr_missing",
        ),
    ] {
        tcpctl_refused(dir, &format!("attest verify q {line}"), code)?;
    }
    // A PCR that was extended is seen.
    let value = "11".repeat(32);
    run(dir, "tpm2_pcrreset 23")?;
    run(dir, &format!("tpm2_pcrextend 23:sha256={value}"))?;
    tcpctl(
        dir,
        &format!("attest quote --nonce {NONCE} --pcrs 23,7 --out p"),
    )?;
    let extended = hex(&crate::keys::sha256(&[&[0; 32], &[0x11; 32]]));
    let verify = format!("attest verify p --nonce {NONCE} --node {node} --expect-pcr 23");
    tcpctl(dir, &format!("{verify}={extended}"))?;
    tcpctl_refused(dir, &format!("{verify}={value}"), "pcr_differs")
}

fn goes_on(ctx: &mut Ctx) -> Res {
    let before = quote(ctx, NONCE)?;
    // A checkpoint.
    stage::call(nl::STATE_STAGE, &crate::client::Attributes::new())
        .map_err(|refused| format!("checkpoint: {refused:?}"))?;
    let after = quote(ctx, NONCE)?;
    let number =
        |of: &str| -> Res<u64> { member(of, "counter")?.parse().map_err(|_| of.to_owned()) };
    ensure!(
        number(&after)? == number(&before)?.saturating_add(1)
            && member(&after, "anchor")? != member(&before, "anchor")?,
        "before {before}, after {after}"
    );
    Ok(())
}

fn enrolled(ctx: &mut Ctx) -> Res {
    let dir = &ctx.scratch;
    let node = hex(&stage::status()?.node);
    tcpctl(dir, "attest enroll request --out request")?;
    let sent = tcpctl(
        dir,
        &format!("attest enroll challenge --request request --out challenge --secret secret --ca {MAKER}"),
    )?;
    ensure!(member(&sent, "certified")? == "true", "{sent}");
    tcpctl(
        dir,
        "attest enroll answer --challenge challenge --out answer",
    )?;
    let told = tcpctl(
        dir,
        "attest enroll verify --secret secret --answer answer --out ak.pem",
    )?;
    ensure!(
        member(&told, "outcome")? == "enrolled" && member(&told, "node")? == node,
        "{told}"
    );
    tcpctl(dir, "attest key create --out same.pem")?;
    ensure!(
        read(dir, "ak.pem")? == read(dir, "same.pem")?,
        "another key was enrolled"
    );
    // OpenSSL finds the chain as well.
    let request = String::from_utf8_lossy(&read(dir, "request")?).into_owned();
    let certificate = member(&request, "ek_certificate")?;
    write(dir, "ek.der", &unhex(&certificate)?)?;
    run(dir, "openssl x509 -inform DER -in ek.der -out ek.pem")?;
    run(dir, &format!("openssl verify -CAfile {MAKER} ek.pem"))?;
    Ok(())
}

fn unhex(text: &str) -> Res<Vec<u8>> {
    (0..text.len() / 2)
        .map(|at| {
            text.get(2 * at..2 * at + 2)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or_else(|| format!("not hexadecimal: {text}"))
        })
        .collect()
}

fn not_enrolled(ctx: &mut Ctx) -> Res {
    let dir = &ctx.scratch;
    tcpctl(dir, "attest enroll request --out request")?;
    let challenge = "attest enroll challenge --request request --out challenge --secret secret";
    // Another maker.
    run(
        dir,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out false.pem -subj /CN=false",
    )?;
    tcpctl_refused(dir, &format!("{challenge} --ca false.pem"), "ek_issuer")?;
    tcpctl_refused(dir, &format!("{challenge} --ca request"), "ca_malformed")?;
    // Without a certificate, only on demand.
    let whole = String::from_utf8_lossy(&read(dir, "request")?).into_owned();
    let certificate = member(&whole, "ek_certificate")?;
    let without = whole.replace(&format!("\"{certificate}\""), "null");
    write(dir, "request", without.as_bytes())?;
    tcpctl_refused(
        dir,
        &format!("{challenge} --ca {MAKER}"),
        "ek_no_certificate",
    )?;
    ensure!(!dir.join("secret").exists(), "a secret for nobody");
    let sent = tcpctl(dir, &format!("{challenge} --any-ek"))?;
    ensure!(member(&sent, "certified")? == "false", "{sent}");

    // A challenge that was tampered with, and a wrong answer.
    let mut bytes = read(dir, "challenge")?;
    if let Some(byte) = bytes.get_mut(20) {
        *byte ^= 1;
    }
    write(dir, "bad", &bytes)?;
    let answer = "attest enroll answer --out answer --challenge";
    tcpctl_refused(dir, &format!("{answer} bad"), "challenge_other")?;
    tcpctl_refused(dir, &format!("{answer} request"), "challenge_malformed")?;
    write(dir, "answer", &[0; 32])?;
    tcpctl_refused(
        dir,
        "attest enroll verify --secret secret --answer answer --out ak.pem",
        "enroll_answer",
    )?;
    ensure!(!dir.join("ak.pem").exists(), "a key was enrolled");
    Ok(())
}

fn credentials(ctx: &mut Ctx) -> Res {
    let dir = &ctx.scratch;
    let node = hex(&stage::status()?.node);
    write(dir, "plain", b"a secret of 32 bytes, or of less")?;
    for kind in ["rsa", "ecc"] {
        // What tpm2_makecredential encrypts, we read; for a key of another name we do not.
        run(
            dir,
            &format!("tpm2_createek -c {kind}.ctx -G {kind} -u {kind}.pub"),
        )?;
        let make = format!(
            "tpm2_makecredential -T none -u {kind}.pub -s plain -o {kind}.challenge -n 000b"
        );
        run(dir, &format!("{make}{node}"))?;
        let answer =
            format!("attest enroll answer --challenge {kind}.challenge --out {kind}.answer");
        tcpctl(dir, &answer)?;
        ensure!(
            read(dir, &format!("{kind}.answer"))? == read(dir, "plain")?,
            "{kind}: another secret"
        );
        run(dir, &format!("{make}{}", "00".repeat(32)))?;
        tcpctl_refused(dir, &answer, "challenge_other")?;

        // What we encrypt, tpm2_activatecredential reads.
        tcpctl(dir, "attest enroll request --out request")?;
        let mut request = String::from_utf8_lossy(&read(dir, "request")?).into_owned();
        let ek = member(&request, "ek")?;
        let public = read(dir, &format!("{kind}.pub"))?;
        request = request.replace(&ek, &hex(public.get(2..).unwrap_or_default()));
        write(dir, "request", request.as_bytes())?;
        tcpctl(
            dir,
            "attest enroll challenge --request request --out challenge --secret secret --any-ek",
        )?;
        let mut label = 23u16.to_le_bytes().to_vec();
        label.extend_from_slice(b"TCP-LSM attestation key\0\0");
        write(dir, "label", &label)?;
        for line in [
            "tpm2_createprimary -C e -g sha256 -G ecc256:ecdsa-sha256:null -u label -c ak.ctx -a \
             fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"
                .to_owned(),
            "tpm2_startauthsession --policy-session -S session".to_owned(),
            "tpm2_policysecret -S session -c e".to_owned(),
            format!(
                "tpm2_activatecredential -c ak.ctx -C {kind}.ctx -i challenge -o answer -P session:session"
            ),
            "tpm2_flushcontext session".to_owned(),
        ] {
            run(dir, &line)?;
        }
        let told = tcpctl(dir, "attest enroll verify --secret secret --answer answer")?;
        ensure!(member(&told, "outcome")? == "enrolled", "{kind}: {told}");
    }
    Ok(())
}

fn explained(ctx: &mut Ctx) -> Res {
    let dir = &ctx.scratch;
    let line = "tcpctl attest key show";
    let done = start(dir, ALICE, line)?;
    ensure!(
        !done.ok && done.text.contains("/dev/tpmrm0") && done.text.contains("root"),
        "without the right: {}",
        done.text
    );
    for (name, value, part) in [
        ("TCTI", "device:/dev/none", "there is no TPM 2.0"),
        ("TPM2TOOLS_TCTI", "device:/dev/none", "/dev/none"),
        ("TCTI", "nonsense", "device:/dev/tpmrm0"),
        ("TCTI", "device:/dev/null", "TPM"),
    ] {
        let done = start(dir, 0, &format!("env {name}={value} {line}"))?;
        ensure!(
            !done.ok && done.text.contains(part),
            "{name}={value}: {}",
            done.text
        );
    }
    let done = start(dir, 0, &format!("env TCTI=device:/dev/tpmrm0 {line}"))?;
    ensure!(done.ok, "by its name: {}", done.text);
    Ok(())
}
