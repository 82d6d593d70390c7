#!/usr/bin/env bash
# A certificate authority for docker-compose.yml's profile `tls`, and the broker's certificate by it.
# certificates.sh HOST BROKER CLIENTS: the broker's keystore and its password go to the folder BROKER, what
# clients trust to CLIENTS/ca.pem. Where they are already, nothing is made. Needs keytool, which is Java's.
# The authority's own key is forgotten, so nobody can make another certificate by it.
set -euo pipefail

(($# == 3)) || { echo "usage: certificates.sh HOST BROKER CLIENTS" >&2; exit 64; }
host=$1 broker=$2 clients=$3
days=365

if [[ -s $broker/keystore.p12 && -s $broker/keystore-password && -s $clients/ca.pem ]]; then
    echo "there are certificates already"
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without a line's end: Kafka's DirectoryConfigProvider takes the file as it is.
head -c 24 /dev/urandom | base64 | tr -d '\n' >"$work/password"

# tool STORE ARGS...: keytool on one of the two keystores. The password is never on a command line.
tool() {
    local store=$1
    shift
    keytool "$@" -storetype PKCS12 -keystore "$work/$store.p12" -storepass:file "$work/password"
}

tool ca -genkeypair -alias ca -keyalg EC -groupname secp256r1 -validity "$days" \
    -dname "CN=login-pipeline example CA" -ext bc:critical=ca:true -ext ku:critical=keyCertSign
tool ca -exportcert -rfc -alias ca >"$work/ca.pem"

tool keystore -genkeypair -alias broker -keyalg EC -groupname secp256r1 -validity "$days" -dname "CN=$host"
tool keystore -certreq -alias broker >"$work/request.pem"
tool ca -gencert -rfc -alias ca -validity "$days" -infile "$work/request.pem" \
    -ext "san=dns:$host" -ext ku:critical=digitalSignature -ext eku=serverAuth >"$work/broker.pem"
tool keystore -importcert -noprompt -alias ca -file "$work/ca.pem"
tool keystore -importcert -alias broker -file "$work/broker.pem"

# The broker is another user than whoever runs this. What keeps others out is that nothing else mounts BROKER.
chmod 444 "$work/keystore.p12" "$work/password" "$work/ca.pem"
mv -f "$work/keystore.p12" "$broker/keystore.p12"
mv -f "$work/password" "$broker/keystore-password"
mv -f "$work/ca.pem" "$clients/ca.pem"
echo "made a certificate for $host, good for $days days"
