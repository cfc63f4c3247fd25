# The driver must find the planted fault from a harmless input, keep the input that shows it, and fail on that, too.
file(REMOVE_RECURSE ${FOLDER})
file(WRITE ${FOLDER}/corpus/harmless "A0")
execute_process(COMMAND ${REPLAY} planted --corpus ${FOLDER}/corpus --executions 20000
                WORKING_DIRECTORY ${FOLDER} RESULT_VARIABLE result ERROR_VARIABLE message OUTPUT_VARIABLE output)
if(result EQUAL 0 OR NOT message MATCHES "finding: more bytes are allocated" OR NOT EXISTS ${FOLDER}/finding-planted)
  message(FATAL_ERROR "The planted fault was not reported (exit code ${result}):\n${output}\n${message}")
endif()
execute_process(COMMAND ${REPLAY} planted ${FOLDER}/finding-planted RESULT_VARIABLE again WORKING_DIRECTORY ${FOLDER}
                ERROR_QUIET OUTPUT_QUIET)
execute_process(COMMAND ${REPLAY} planted ${FOLDER}/corpus/harmless RESULT_VARIABLE harmless OUTPUT_QUIET)
if(again EQUAL 0 OR NOT harmless EQUAL 0)
  message(FATAL_ERROR "The kept input ends with ${again}, the harmless one with ${harmless}")
endif()
