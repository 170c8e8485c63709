package analyst_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/quipudb/quipu/mysql/analyst"
)

// Only one SELECT of the views gets through.
func TestRefusals(t *testing.T) {
	parser := analyst.NewParser()
	for text, want := range map[string]string{
		"":                         "no statement",
		" ; ":                      "no statement",
		"-- nothing":               "no statement",
		"SELEC 1":                  `line 1, column 5: syntax error near "SELEC 1"`,
		"SELECT 1,\n  FROM t":      "line 2, column",
		"SELECT (1":                "syntax error at the end",
		"SELECT 'open":             "syntax error",
		"SELECT 1; SELECT 2":       "one statement at a time, there are 2",
		"SELECT 1; DROP TABLE x":   "one statement at a time",
		"INSERT INTO t VALUES (1)": "only SELECT is offered",
		"UPDATE t SET a = 1":       "only SELECT is offered",
		"DELETE FROM t":            "only SELECT is offered",
		"REPLACE INTO t VALUES(1)": "only SELECT is offered",
		"DROP TABLE t":             "only SELECT is offered",
		"TRUNCATE t":               "only SELECT is offered",
		"SET @a = 1":               "only SELECT is offered",
		"SET GLOBAL read_only = 0": "only SELECT is offered",
		"SHOW TABLES":              "only SELECT is offered",
		"EXPLAIN SELECT 1":         "only SELECT is offered",
		"CALL p()":                 "only SELECT is offered",
		"DO SLEEP(5)":              "only SELECT is offered",
		"KILL 5":                   "only SELECT is offered",
		"USE quipu":                "only SELECT is offered",
		"BEGIN":                    "only SELECT is offered",
		"LOAD DATA INFILE '/etc/passwd' INTO TABLE t":     "only SELECT is offered",
		"GRANT ALL ON *.* TO x":                           "only SELECT is offered",
		"LOCK TABLES t READ":                              "only SELECT is offered",
		"PREPARE s FROM 'SELECT 1'":                       "only SELECT is offered",
		"SET STATEMENT max_statement_time=0 FOR SELECT 1": "syntax error",
		"HANDLER t OPEN":                                  "syntax error",
		"TABLE counts_per_day":                            "only SELECT is offered, not TABLE",
		"VALUES ROW(1)":                                   "only SELECT is offered, not VALUES",
		"SELECT * FROM (TABLE counts_per_day) x":          "only SELECT is offered, not TABLE",
		"SELECT 1 INTO OUTFILE '/tmp/x'":                  "INTO is not offered",
		"SELECT 1 INTO DUMPFILE '/tmp/x'":                 `near "DUMPFILE`,
		"SELECT 1 INTO @x":                                `near "@x"`,
		"SELECT 1 /*! INTO OUTFILE '/tmp/x' */":           "INTO is not offered",
		"SELECT * FROM t FOR UPDATE":                      "can't be locked",
		"SELECT * FROM t FOR SHARE":                       "can't be locked",
		"SELECT * FROM t LOCK IN SHARE MODE":              "can't be locked",
		"SELECT * FROM (SELECT * FROM t FOR UPDATE) x":    "can't be locked",
		"(SELECT 1) UNION (SELECT * FROM t FOR UPDATE)":   "can't be locked",
		"SELECT @a":                                              "variables are not offered, here @a",
		"SELECT @a := 1":                                         "variables are not offered, here @a",
		"SELECT @@version":                                       "variables are not offered, here @@version",
		"SELECT @@GLOBAL.datadir":                                "variables are not offered",
		"SELECT SLEEP(10)":                                       "the function SLEEP is not offered",
		"SELECT 1 WHERE sleep (10) = 0":                          "the function SLEEP is not offered",
		"SELECT `sleep`(10)":                                     "the function SLEEP is not offered",
		"SELECT (SELECT SlEeP(10))":                              "the function SLEEP is not offered",
		"SELECT BENCHMARK(1e9, MD5('x'))":                        "the function BENCHMARK is not offered",
		"SELECT GET_LOCK('x', 1)":                                "the function GET_LOCK is not offered",
		"SELECT RELEASE_ALL_LOCKS()":                             "the function RELEASE_ALL_LOCKS is not offered",
		"SELECT LOAD_FILE('/etc/passwd')":                        "the function LOAD_FILE is not offered",
		"SELECT MASTER_POS_WAIT('x', 1)":                         "the function MASTER_POS_WAIT is not offered",
		"SELECT MASTER_GTID_WAIT('1-1-1')":                       "the function MASTER_GTID_WAIT is not offered",
		"SELECT WSREP_SYNC_WAIT_UPTO_GTID('x')":                  "is not offered",
		"SELECT LAST_INSERT_ID(5)":                               "the function LAST_INSERT_ID is not offered",
		"SELECT USER()":                                          "the function USER is not offered",
		"SELECT CURRENT_USER":                                    "the function CURRENT_USER is not offered",
		"SELECT quipu.f(1)":                                      "stored functions are not offered, here quipu.f",
		"SELECT * FROM quipu.checkpoints":                        "only the views in analytics are offered, not quipu.checkpoints",
		"SELECT * FROM `quipu` . `checkpoints`":                  "only the views in analytics",
		"SELECT * FROM mysql.user":                               "only the views in analytics",
		"SELECT * FROM performance_schema.threads":               "only the views in analytics",
		"SELECT * FROM sys.version":                              "only the views in analytics",
		"SELECT * FROM information_schema.processlist":           "of information_schema there are tables and columns",
		"SELECT 1 FROM counts_per_day JOIN quipu.owners":         "only the views in analytics",
		"SELECT 1 WHERE EXISTS (SELECT 1 FROM quipu.owners)":     "only the views in analytics",
		"WITH x AS (SELECT * FROM quipu.owners) SELECT * FROM x": "only the views in analytics",
		"SELECT 1 UNION SELECT name FROM quipu.owners":           "only the views in analytics",
		"SELECT /*+ MAX_EXECUTION_TIME(0) */ 1":                  "hints",
		"SELECT SQL_CALC_FOUND_ROWS 1":                           "SQL_CALC_FOUND_ROWS is not offered",
		"SELECT HIGH_PRIORITY 1":                                 "not offered",
		"SELECT ?":                                               "no parameter for question mark 1, 0 are given",
		"SELECT * FROM counts_per_day AS OF TIMESTAMP NOW()":     "not offered",
		"SELECT * FROM t PROCEDURE ANALYSE()":                    "syntax error",
		"SELECT " + strings.Repeat("1+", 40_000) + "1":           "has 80008 bytes, at most 65536",
		"SELECT * FROM t;;DELETE FROM t":                         "one statement at a time",
		"SELECT NEXT VALUE FOR s":                                "not offered",
		"SELECT NEXTVAL(s)":                                      "not offered",
	} {
		got, err := parser.Parse(text, nil)
		if _, ok := errors.AsType[*analyst.Error](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

// What gets through is written out again with the same meaning.
func TestWhatIsSent(t *testing.T) {
	parser := analyst.NewParser()
	for text, want := range map[string]string{
		"select 1":                    "SELECT 1 AS `1`",
		"SELECT 5 - -3, 5--3, - - 4;": "SELECT 5 - -3 AS `5 - -3`,5 - -3,--4 AS `- - 4`",
		"SELECT counted_key, SUM(event_count) n FROM counts_per_day WHERE event_type = 'view' GROUP BY 1 HAVING n > 5 ORDER BY n DESC LIMIT 10": "SELECT `counted_key`,SUM(`event_count`) AS `n` FROM `counts_per_day` WHERE `event_type` = 'view' GROUP BY 1 HAVING `n` > 5 ORDER BY `n` DESC LIMIT 10",
		"SELECT 'it''s \\\\ \\' \"x\"', \"double\"": "SELECT 'it''s \\\\ '' \"x\"' AS `'it''s \\\\ \\' \"x\"'`,'double' AS `\"double\"`",
		"SELECT 1 /*M! INTO OUTFILE '/tmp/x' */":    "SELECT 1",
		"SELECT 1 -- INTO OUTFILE '/tmp/x'":         "SELECT 1",
		"SELECT 1 # x":                              "SELECT 1",
		"SELECT /*!50000 2 */":                      "SELECT 2",
		"WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n": "WITH RECURSIVE `n` AS (SELECT 1 AS `i` UNION ALL SELECT `i` + 1 FROM `n` WHERE `i` < 5) SELECT `i` FROM `n`",
		"(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 1":                                            "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 1",
		"SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t":                                   "SELECT ROW_NUMBER() OVER (PARTITION BY `a` ORDER BY `b`) AS `ROW_NUMBER() OVER (PARTITION BY a ORDER BY b)` FROM `t`",
		"SELECT start + INTERVAL 1 DAY FROM analytics.counts_per_day d WHERE d.start >= '2026-01-01'":   "SELECT DATE_ADD(`start`, INTERVAL 1 DAY) AS `start + INTERVAL 1 DAY` FROM `analytics`.`counts_per_day` AS `d` WHERE `d`.`start` >= '2026-01-01'",
		"SELECT table_name FROM information_schema.tables":                                              "SELECT `table_name` FROM `information_schema`.`tables`",
		"SELECT CAST(a AS SIGNED), a DIV 2, a IS NULL, NOT a, a IN (1,2), a BETWEEN 1 AND 2 FROM t":     "SELECT CAST(`a` AS SIGNED) AS `CAST(a AS SIGNED)`,`a` DIV 2 AS `a DIV 2`,`a` IS NULL AS `a IS NULL`,NOT `a` AS `NOT a`,`a` IN (1,2) AS `a IN (1,2)`,`a` BETWEEN 1 AND 2 AS `a BETWEEN 1 AND 2` FROM `t`",
		"SELECT CASE WHEN a THEN 1 ELSE 2 END, x'00ff', TRUE, NULL, 1.50, 1e3":                          "SELECT CASE WHEN `a` THEN 1 ELSE 2 END AS `CASE WHEN a THEN 1 ELSE 2 END`,x'00ff' AS `x'00ff'`,TRUE AS `TRUE`,NULL AS `NULL`,1.50 AS `1.50`,1e+03 AS `1e3`",
		"SELECT STDDEV(event_count), GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ';') FROM t":          "SELECT STDDEV_POP(`event_count`) AS `STDDEV(event_count)`,GROUP_CONCAT(DISTINCT `a` ORDER BY `b` SEPARATOR ';') AS `GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ';')` FROM `t`",
		"SELECT `odd``name` FROM `t`":                                                                   "SELECT `odd``name` FROM `t`",
		"SELECT * FROM a LEFT JOIN b USING (k) WHERE a.name LIKE 'x!%' ESCAPE '!'":                      "SELECT * FROM `a` LEFT JOIN `b` USING (`k`) WHERE `a`.`name` LIKE 'x!%' ESCAPE '!'",
	} {
		got, err := parser.Parse(text, nil)
		if err != nil || got != want {
			t.Errorf("%q:\n got %q, %v\nwant %q", text, got, err, want)
		}
	}
}

// Parameters are values wherever they stand, whatever is in them.
func TestParameters(t *testing.T) {
	parser := analyst.NewParser()
	for _, test := range []struct {
		text   string
		params []any
		want   string
	}{
		{"SELECT ?, '?' FROM t WHERE a = ?", []any{"x' OR 1=1 -- ", json.Number("5")}, "SELECT 'x'' OR 1=1 -- ' AS `?`,'?' AS `'?'` FROM `t` WHERE `a` = 5"},
		{"SELECT ? , ?, ?, ?", []any{nil, true, json.Number("18446744073709551615"), json.Number("-3")}, "SELECT NULL AS `?`,TRUE AS `?`,18446744073709551615 AS `?`,-3 AS `?`"},
		{"SELECT ?, ?", []any{json.Number("12345678901234567890.5"), json.Number("1.5e3")}, "SELECT 12345678901234567890.5 AS `?`,1.5e+03 AS `?`"},
		{"SELECT 1 LIMIT ?", []any{json.Number("3")}, "SELECT 1 AS `1` LIMIT 3"},
		{"SELECT ?", []any{"\\'; DROP TABLE t; -- \x00"}, "SELECT '\\\\''; DROP TABLE t; -- \x00' AS `?`"},
	} {
		got, err := parser.Parse(test.text, test.params)
		if err != nil || got != test.want {
			t.Errorf("%s:\n got %q, %v\nwant %q", test.text, got, err, test.want)
		}
	}
	for text, params := range map[string][]any{
		"SELECT 1": {"x"}, "SELECT ?": {}, "SELECT ?, ?": {"x"}, "SELECT ? + 1": {[]any{}}, "SELECT ? + 2": {map[string]any{}},
	} {
		if got, err := parser.Parse(text, params); err == nil {
			t.Errorf("%s with %v: got %q", text, params, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"SELECT 1", "SELECT ? FROM t WHERE a = 'x'", "WITH a AS (SELECT 1) SELECT * FROM a UNION SELECT 2", "SELECT /*! 1 */ @a", "SELECT (((("} {
		f.Add(seed)
	}
	parser := analyst.NewParser()
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parser.Parse(text, nil)
		if err != nil {
			return
		}
		if _, err := parser.Parse(got, nil); err != nil {
			t.Errorf("%q is sent as %q, which is refused: %v", text, got, err)
		}
	})
}
