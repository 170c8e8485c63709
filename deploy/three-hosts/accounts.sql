-- The two schemas and the database accounts, each with what its work needs and no more. Run it once on each shard's primary, as root;
-- replicas follow. Put the passwords in first, and the hosts' network in place of % (server and accounts resolve no names):
--
--   sed -e "s/@apply@/$(cat /etc/quipu/secrets/apply)/" -e "s/@read@/$(cat /etc/quipu/secrets/read)/" … -e "s/'%'/'10.0.0.%'/" accounts.sql

CREATE DATABASE IF NOT EXISTS `quipu` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE DATABASE IF NOT EXISTS `analytics` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Adds counts, makes and drops time partitions of the counts tables, and deletes what moved to cold storage or is released from what was
-- brought back. On an existing cluster run the lines with DELETE before the migration to version 6.
CREATE OR REPLACE USER 'quipu_apply'@'%' IDENTIFIED BY '@apply@';
GRANT SELECT, INSERT, UPDATE ON `quipu`.* TO 'quipu_apply'@'%';
GRANT ALTER, CREATE, DROP ON `quipu`.`minute_counts` TO 'quipu_apply'@'%';
GRANT ALTER, CREATE, DROP ON `quipu`.`hour_counts` TO 'quipu_apply'@'%';
GRANT ALTER, CREATE, DROP ON `quipu`.`day_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`ranked_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`ranked_bounds` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`ranked_grown` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`late_minute_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`late_hour_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`late_day_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`restored_minute_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`restored_hour_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`restored_day_counts` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`restored_ranges` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`archive_manifest` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`archive_intents` TO 'quipu_apply'@'%';
GRANT CREATE, DELETE ON `quipu`.`late_changes` TO 'quipu_apply'@'%';

-- Answers questions.
CREATE OR REPLACE USER 'quipu_read'@'%' IDENTIFIED BY '@read@';
GRANT SELECT ON `quipu`.* TO 'quipu_read'@'%';

-- For people: the views only, and with bounds.
CREATE OR REPLACE USER 'quipu_analyst'@'%' IDENTIFIED BY '@analyst@' WITH MAX_USER_CONNECTIONS 20 MAX_STATEMENT_TIME 60;
GRANT SELECT, SHOW VIEW ON `analytics`.* TO 'quipu_analyst'@'%';

-- Owns both schemas: quipu migrate.
CREATE OR REPLACE USER 'quipu_migrate'@'%' IDENTIFIED BY '@migrate@';
GRANT ALL PRIVILEGES ON `quipu`.* TO 'quipu_migrate'@'%';
GRANT ALL PRIVILEGES ON `analytics`.* TO 'quipu_migrate'@'%';

-- Sees health, replication and running statements.
CREATE OR REPLACE USER 'quipu_monitor'@'%' IDENTIFIED BY '@monitor@';
GRANT PROCESS, BINLOG MONITOR, REPLICA MONITOR ON *.* TO 'quipu_monitor'@'%';
GRANT SELECT ON `quipu`.* TO 'quipu_monitor'@'%';

-- How a replica reads its primary's binary log.
CREATE OR REPLACE USER 'quipu_replicate'@'%' IDENTIFIED BY '@replicate@';
GRANT REPLICATION SLAVE ON *.* TO 'quipu_replicate'@'%';

-- What quipu backup create works as, with mariadb-backup, on the database's own host.
CREATE OR REPLACE USER 'quipu_backup'@'%' IDENTIFIED BY '@backup@';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO 'quipu_backup'@'%';
GRANT SELECT ON `quipu`.* TO 'quipu_backup'@'%';

-- Changes the roles of servers: the role failover.
CREATE OR REPLACE USER 'quipu_failover'@'%' IDENTIFIED BY '@failover@';
GRANT PROCESS, RELOAD, CONNECTION ADMIN, READ_ONLY ADMIN, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ADMIN ON *.* TO 'quipu_failover'@'%';
GRANT SELECT ON `quipu`.* TO 'quipu_failover'@'%';
GRANT CREATE, UPDATE ON `quipu`.`shard_state` TO 'quipu_failover'@'%';

-- Fills a database anew from another one: quipu replica rebuild. No role has its password.
CREATE OR REPLACE USER 'quipu_rebuild'@'%' IDENTIFIED BY '@rebuild@';
GRANT PROCESS, RELOAD, CONNECTION ADMIN, READ_ONLY ADMIN, BINLOG ADMIN, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, SET USER ON *.* TO 'quipu_rebuild'@'%';
GRANT ALL PRIVILEGES ON `quipu`.* TO 'quipu_rebuild'@'%';
GRANT ALL PRIVILEGES ON `analytics`.* TO 'quipu_rebuild'@'%';
