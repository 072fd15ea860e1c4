# Writes the commit that SOURCE is a checkout of, and whether SOURCE differs from it, as a header at TO; one that says so is not touched.

cmake_minimum_required(VERSION 3.25)  # a script of its own: it has no policies else

set(COMMIT [[\"commit\": null, \"dirty\": null]])
find_program(GIT git)
cmake_path(GET SOURCE PARENT_PATH ROOT)
# Sources that were unpacked inside of another project's checkout are not that project's.
if(GIT AND EXISTS ${ROOT}/.git)
    execute_process(COMMAND ${GIT} --no-optional-locks -C ${ROOT} rev-parse HEAD
        OUTPUT_VARIABLE HEAD RESULT_VARIABLE NO_HEAD OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    execute_process(COMMAND ${GIT} --no-optional-locks -C ${ROOT} status --porcelain -- ${SOURCE}
        OUTPUT_VARIABLE CHANGES RESULT_VARIABLE NO_STATUS ERROR_QUIET)
    if(NO_HEAD EQUAL 0 AND NO_STATUS EQUAL 0)
        set(DIRTY false)
        if(CHANGES)
            set(DIRTY true)
        endif()
        set(COMMIT "\\\"commit\\\": \\\"${HEAD}\\\", \\\"dirty\\\": ${DIRTY}")
    endif()
endif()
file(CONFIGURE OUTPUT ${TO} CONTENT "#define VADFAST_COMMIT_JSON \"@COMMIT@\"\n" @ONLY)
