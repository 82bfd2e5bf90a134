-- Tables of a mail server.
CREATE TABLE relay (
    ip_addr CHAR(18) NOT NULL, -- expect: db-column-too-short
    stamp BIGINT NOT NULL
);


CREATE TABLE logins (
    client_ip VARCHAR(15), -- expect: db-column-too-short
    who VARCHAR(64)
);
