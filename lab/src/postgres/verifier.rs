//! Passwords that take few rounds to check.

/// SQL that makes function `pg_temp.verifier(password, iterations)`: what a server keeps of a
/// password, for `ALTER ROLE … PASSWORD`. Passwords have up to 64 bytes of ASCII.
///
/// The usual 4096 rounds cost a client that was not optimized a tenth of a second for each
/// login, and setting `scram_iterations` came with PostgreSQL 16.
/// <https://www.rfc-editor.org/rfc/rfc5802#section-3>
pub(super) const VERIFIER: &str = r"
CREATE FUNCTION pg_temp.hmac(key bytea, message bytea) RETURNS bytea LANGUAGE plpgsql AS $f$
DECLARE
    inner_key bytea := key || decode(repeat('00', 64 - length(key)), 'hex');
    outer_key bytea := inner_key;
BEGIN
    FOR n IN 0..63 LOOP
        outer_key := set_byte(outer_key, n, get_byte(inner_key, n) # 92);
        inner_key := set_byte(inner_key, n, get_byte(inner_key, n) # 54);
    END LOOP;
    RETURN sha256(outer_key || sha256(inner_key || message));
END $f$;
CREATE FUNCTION pg_temp.verifier(password text, iterations int) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
    salt bytea := decode(md5(password), 'hex');
    round bytea := pg_temp.hmac(password::bytea, salt || '\x00000001');
    salted bytea := round;
BEGIN
    FOR i IN 2..iterations LOOP
        round := pg_temp.hmac(password::bytea, round);
        FOR n IN 0..31 LOOP
            salted := set_byte(salted, n, get_byte(salted, n) # get_byte(round, n));
        END LOOP;
    END LOOP;
    RETURN format('SCRAM-SHA-256$%s:%s$%s:%s', iterations, encode(salt, 'base64'),
        encode(sha256(pg_temp.hmac(salted, 'Client Key')), 'base64'),
        encode(pg_temp.hmac(salted, 'Server Key'), 'base64'));
END $f$";
