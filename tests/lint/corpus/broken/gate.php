<?php
$ip = getenv('TCPREMOTEIP');
function permitted($address, $list) {
    return in_array($address, $list); // expect: string-equality-allowlist
}
$number = ip2long($ip); // expect: inet-aton-family

$parts = explode('.', $ip); // expect: dot-split

if (preg_match('/^10\./', $ip)) { echo 'inside'; } // expect: prefix-string-match

if (!filter_var($ip, FILTER_VALIDATE_IP)) { exit(1); } // expect: zone-id


if (strpos($ip, ':') !== false) { exit(0); } // expect: skipped-check

$db->query("DELETE FROM seen WHERE ip = '$ip'"); // expect: sql-interpolation

echo permitted($ip, array()), $number, $parts[0];
