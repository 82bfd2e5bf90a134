<p>127.0.0.1 is only text here: explode('.', $ip)</p>
<?php
$ip = getenv('TCPREMOTEIP');
if ($ip === false) { exit(111); }
$bytes = inet_pton(preg_replace('/%.*/', '', $ip));
echo strlen($bytes) === 4 ? 4 : 6, phpversion();
