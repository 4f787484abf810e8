-- Forgets keys whose held rows are all done. See the function, in the migrations, for why it is one.
-- $1 integer  lanes owned, as a bit mask
select relay.close_released($1)
