package analyst

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// visitor looks at every part of a statement and refuses what does more than read the views.
type visitor struct {
	text    string
	params  []any
	used    int
	refused *Error
}

// Schema is where the views are.
const Schema = "analytics"

// catalogue is what may be read to find out which views there are.
var catalogue = []string{"tables", "columns"}

// forbidden are functions that wait, lock, read files, tell or change what is not data, or can be made to.
var forbidden = []string{
	"benchmark", "connection_id", "current_role", "current_user", "database", "encrypt", "found_rows", "get_lock", "is_free_lock", "is_used_lock", "last_insert_id",
	"lastval", "load_file", "master_gtid_wait", "master_pos_wait", "name_const", "nextval", "release_all_locks", "release_lock", "row_count", "schema", "session_user", "setval",
	"sleep", "source_pos_wait", "sys_eval", "sys_exec", "sys_get", "sys_guid", "sys_set", "system_user", "user", "uuid_short", "version",
	"wait_for_executed_gtid_set", "wait_until_sql_thread_after_gtids", "wsrep_last_seen_gtid", "wsrep_last_written_gtid", "wsrep_sync_wait_upto_gtid",
}

// forbiddenPrefixes begin the names of functions of one kind, be they known here or not.
var forbiddenPrefixes = []string{"tidb_", "vitess_", "wsrep_", "sys_", "gtid_", "ps_", "asynchronous_", "group_replication_", "spider_"}

// Enter refuses, or goes on.
func (v *visitor) Enter(n ast.Node) (ast.Node, bool) {
	switch n := n.(type) {
	case *ast.SelectStmt:
		v.selection(n)
	case *ast.TableName:
		v.table(n)
	case *ast.FuncCallExpr:
		v.function(n, n.Schema.O, n.FnName.L)
	case *ast.VariableExpr:
		v.refuse(n, "variables are not offered, here "+variableName(n))
	case *ast.TableOptimizerHint:
		v.refuse(n, "optimizer hints are not offered")
	case *ast.SelectIntoOption:
		v.refuse(n, "INTO is not offered: rows come as the answer")
	case *ast.TableSample, *ast.AsOfClause:
		v.refuse(n, "this way of reading a table is not offered")
	case ast.ParamMarkerExpr:
		return v.parameter(n)
	}
	return n, v.refused != nil
}

// Leave ends the visit once something was refused.
func (v *visitor) Leave(n ast.Node) (ast.Node, bool) { return n, v.refused == nil }

func (v *visitor) selection(n *ast.SelectStmt) {
	switch {
	case n.Kind != ast.SelectStmtKindSelect:
		v.refuse(n, "only SELECT is offered, not "+strings.ToUpper(n.Kind.String()))
	case n.SelectIntoOpt != nil:
		v.refuse(n.SelectIntoOpt, "INTO is not offered: rows come as the answer")
	case n.LockInfo != nil && n.LockInfo.LockType != ast.SelectLockNone:
		v.refuse(n, "rows can't be locked (FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE)")
	case len(n.TableHints) > 0:
		v.refuse(n.TableHints[0], "optimizer hints are not offered")
	case n.SelectStmtOpts != nil && n.SelectStmtOpts.CalcFoundRows:
		v.refuse(n, "SQL_CALC_FOUND_ROWS is not offered")
	case n.SelectStmtOpts != nil && (n.SelectStmtOpts.Priority != 0 || len(n.SelectStmtOpts.TableHints) > 0):
		v.refuse(n, "priorities and hints are not offered")
	}
}

func (v *visitor) table(n *ast.TableName) {
	schema := n.Schema.L
	switch {
	case schema == "", schema == Schema:
	case schema == "information_schema" && slices.Contains(catalogue, n.Name.L):
	case schema == "information_schema":
		v.refuse(n, fmt.Sprintf("of information_schema there are %s, not %.64s", strings.Join(catalogue, " and "), n.Name.O))
	default:
		v.refuse(n, fmt.Sprintf("only the views in %s are offered, not %.64s.%.64s", Schema, n.Schema.O, n.Name.O))
	}
}

func (v *visitor) function(n ast.Node, schema, name string) {
	known := slices.Contains(forbidden, name)
	for _, prefix := range forbiddenPrefixes {
		known = known || strings.HasPrefix(name, prefix)
	}
	switch {
	case schema != "":
		v.refuse(n, fmt.Sprintf("stored functions are not offered, here %.64s.%.64s", schema, name))
	case known:
		v.refuse(n, fmt.Sprintf("the function %s is not offered", strings.ToUpper(name)))
	}
}

// maxNameBytes bounds what a column is called after.
const maxNameBytes = 64

// nameColumns calls the columns of an answer that are expressions by what was written, as a server would: what is sent is written in another way.
func nameColumns(n ast.Node) {
	switch n := n.(type) {
	case *ast.SetOprStmt:
		if len(n.SelectList.Selects) > 0 {
			nameColumns(n.SelectList.Selects[0])
		}
	case *ast.SelectStmt:
		for _, field := range n.Fields.Fields {
			text := strings.TrimSpace(field.Text())
			_, column := field.Expr.(*ast.ColumnNameExpr)
			if !column && field.Expr != nil && field.AsName.O == "" && text != "" && len(text) <= maxNameBytes && !comment.MatchString(text) {
				field.AsName = ast.NewCIStr(text)
			}
		}
	}
}

// comment finds what may be one.
var comment = regexp.MustCompile(`/\*|\*/|--|#`)

func variableName(n *ast.VariableExpr) string {
	if n.IsSystem {
		return fmt.Sprintf("@@%.64s", n.Name)
	}
	return fmt.Sprintf("@%.64s", n.Name)
}

// parameter puts a value in place of a question mark.
func (v *visitor) parameter(n ast.Node) (ast.Node, bool) {
	if v.used >= len(v.params) {
		v.refuse(n, fmt.Sprintf("there is no parameter for question mark %d, %d are given", v.used+1, len(v.params)))
		return n, true
	}
	value, err := valueOf(v.params[v.used])
	if err != nil {
		v.refuse(n, fmt.Sprintf("parameter %d %v", v.used+1, err))
		return n, true
	}
	v.used++
	return ast.NewValueExpr(value, "utf8mb4", "utf8mb4_bin"), true
}

// refuse notes the first refusal, with where it stands if the parser knows.
func (v *visitor) refuse(n ast.Node, message string) {
	if v.refused != nil {
		return
	}
	v.refused = &Error{Message: message}
	if at := n.OriginTextPosition(); at > 0 && at <= len(v.text) {
		before := v.text[:at]
		v.refused.Line = 1 + strings.Count(before, "\n")
		v.refused.Column = at - strings.LastIndex(before, "\n")
	}
}
