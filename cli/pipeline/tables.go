package pipeline

// tables are the fields of every map of the format. One set is made for each
// call, because the tables point at each other.
type tables struct {
	pipeline    object[pipelineDraft]
	task        object[taskDraft]
	defaults    object[taskDraft]
	schedule    object[scheduleDraft]
	dst         object[scheduleDraft]
	param       object[schemaDraft]
	output      object[schemaDraft]
	runOutput   object[runOutputDraft]
	concurrency object[Concurrency]
	retention   object[Retention]
	retry       object[Retry]
	lost        object[Task]
	exitCodes   object[exitDraft]
	pool        object[PoolUse]
	sub         object[Sub]
	wait        object[waitDraft]
	waitHTTP    object[WaitHTTP]
	approval    object[Approval]
	triggers    object[triggersDraft]
	trigger     object[triggerDraft]

	poolDoc object[Pool]
	reserve object[Pool]
	varsDoc object[VarSet]
}

func newTables() *tables {
	ts := &tables{}
	ts.pipeline = pipelineFields(ts)
	ts.task = taskFields(ts)
	ts.defaults = defaultsFields(ts)
	ts.schedule = scheduleFields(ts)
	ts.dst = dstFields()
	ts.param = paramFields()
	ts.output = outputFields()
	ts.runOutput = runOutputFields()
	ts.concurrency = concurrencyFields()
	ts.retention = retentionFields()
	ts.retry = retryFields()
	ts.lost = lostFields()
	ts.exitCodes = exitFields()
	ts.pool = poolFields()
	ts.sub = subFields()
	ts.waitHTTP = waitHTTPFields()
	ts.wait = waitFields(ts)
	ts.approval = approvalFields()
	ts.trigger = triggerFields()
	ts.triggers = triggersFields(ts)
	ts.poolDoc = poolDocFields(ts)
	ts.reserve = reserveFields()
	ts.varsDoc = varsDocFields()
	return ts
}
