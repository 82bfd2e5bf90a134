-- ip CHAR(15) would be too short
CREATE TABLE relay (ip_addr VARBINARY(16) NOT NULL, note VARCHAR(30), shipping_zip CHAR(16));
CREATE TABLE logins (client_ip VARCHAR(45), zip_code CHAR(15));
